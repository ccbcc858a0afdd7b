/**
 * Settings of the daemon: flags, and an optional JSON file with the same names. A flag wins over the file. Unknown
 * keys are errors, so that a typing mistake is found at the start and not in the night.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { SkeinError } from '../model/errors.ts';
import { parseGenericResources } from '../model/generic-resources.ts';

const absolute = z.string().startsWith('/', 'must be an absolute path');

/** Every setting, with its meaning: `skein daemon --help` is made from this. */
export const settingsSchema = z.strictObject({
  dataRoot: absolute
    .default('/var/lib/skein')
    .describe('what must survive a reboot: identity, images, containers, etcd'),
  runRoot: absolute.default('/run/skein').describe('sockets, namespaces, pid files: gone after a reboot'),
  socket: absolute.optional().describe('unix socket of the Docker Engine API (default: RUN-ROOT/skein.sock)'),
  socketGroup: z.string().min(1).optional().describe('group that may use the socket (default: root only)'),
  listenAddr: z
    .string()
    .regex(/^[^:]+:\d+$/, 'must be ADDRESS:PORT')
    .default('0.0.0.0:2377')
    .describe('control listener of a manager, unless swarm init says otherwise'),
  hostname: z.string().min(1).optional().describe("name in node ls (default: the host's)"),
  cgroupParent: absolute.default('/skein').describe("parent of the containers' cgroups"),
  insecureRegistries: z
    .array(z.string().min(1))
    .default([])
    .describe('registries spoken to without TLS, HOST:PORT or CIDR, besides 127.0.0.0/8'),
  keepUnusedImages: z.coerce
    .number()
    .nonnegative()
    .default(3600)
    .describe(
      'seconds that an image stays which tasks brought and none needs any more, unless the disk fills up',
    ),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('how much is logged'),
  labels: z.record(z.string(), z.string()).default({}).describe('engine labels, KEY=VALUE'),
  nodeGenericResources: z
    .array(z.string())
    .default([])
    .superRefine((terms, context) => {
      try {
        parseGenericResources(terms);
      } catch (error) {
        context.addIssue({ code: 'custom', message: SkeinError.from(error).message });
      }
    })
    .describe('resources that services may reserve, KIND=COUNT or KIND=NAME, one each'),
});

export type Settings = z.infer<typeof settingsSchema>;
export const socketPath = (settings: Settings): string => settings.socket ?? `${settings.runRoot}/skein.sock`;

/** Reads the file (if any), lays the flags over it and checks the whole. Errors name the file and every bad key. */
export function loadSettings(file: string | undefined, flags: Readonly<Record<string, unknown>>): Settings {
  const merged = { ...(file === undefined ? {} : readSettingsFile(file)), ...flags };
  const parsed = settingsSchema.safeParse(merged);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map((issue) => {
    const where = issue.path.join('.');
    return `  ${where ? `${where}: ` : ''}${issue.message}`;
  });
  throw new SkeinError(
    'invalid-argument',
    `bad settings${file ? ` in ${file}` : ''}:\n${problems.join('\n')}`,
  );
}

function readSettingsFile(file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(file, 'utf8'));
  } catch (cause) {
    throw new SkeinError(
      'invalid-argument',
      `cannot read settings from ${file}: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SkeinError('invalid-argument', `settings in ${file} are not a JSON object`);
  return value as Record<string, unknown>;
}
