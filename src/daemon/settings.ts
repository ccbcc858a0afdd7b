/**
 * Settings of the daemon: flags, and an optional JSON file with the same names. A flag wins over the file. Unknown
 * keys are errors, so that a typing mistake is found at the start and not in the night.
 */
import { z } from 'zod';

export const settingsSchema = z.strictObject({
  /** Everything that must survive a reboot: identity, images, containers, etcd. */
  dataRoot: z.string().startsWith('/').default('/var/lib/skein'),
  /** Sockets, namespaces, pid files: gone after a reboot. */
  runRoot: z.string().startsWith('/').default('/run/skein'),
  /** The Docker Engine API. */
  socket: z.string().startsWith('/').optional(),
  socketGroup: z.string().optional(),
  /** `address:port` of the control listener of a manager, unless `swarm init --listen-addr` says otherwise. */
  listenAddr: z.string().default('0.0.0.0:2377'),
  /** Name shown by `node ls`; the host's unless given. */
  hostname: z.string().min(1).optional(),
  /** Parent of the containers' cgroups. */
  cgroupParent: z.string().startsWith('/').default('/skein'),
  /** Registries spoken to without TLS, `host:port` or CIDR, besides 127.0.0.0/8. */
  insecureRegistries: z.array(z.string()).default([]),
  /** `debug`, `info`, `warn`, `error`. */
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  labels: z.record(z.string(), z.string()).default({}),
});

export type Settings = z.infer<typeof settingsSchema>;
export const socketPath = (settings: Settings): string => settings.socket ?? `${settings.runRoot}/skein.sock`;
