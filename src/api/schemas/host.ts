/** Bodies of what a node has: containers of one's own, what runs in them, volumes; and who asks. */
import { z } from 'zod';
import { health, int, mount, opt, text, textMap, texts, word } from './parts.ts';

export const authConfig = z.object({
  username: opt(text),
  password: opt(text),
  identitytoken: opt(text),
  registrytoken: opt(text),
  serveraddress: opt(text),
});

const consoleSize = opt(z.array(int));

export const execCreateBody = z.object({
  Cmd: texts.default([]),
  Env: opt(texts),
  WorkingDir: opt(text),
  User: opt(text),
  Tty: opt(z.boolean()),
  Privileged: opt(z.boolean()),
  AttachStdin: opt(z.boolean()),
  AttachStdout: opt(z.boolean()),
  AttachStderr: opt(z.boolean()),
  DetachKeys: opt(text),
  ConsoleSize: consoleSize,
});

export const execStartBody = z.object({
  Detach: opt(z.boolean()),
  Tty: opt(z.boolean()),
  ConsoleSize: consoleSize,
});

export const volumeCreateBody = z.object({
  Name: text.default(''),
  Driver: text.default(''),
  DriverOpts: opt(textMap),
  Labels: opt(textMap),
  ClusterVolumeSpec: opt(z.looseObject({})),
});

const words = opt(z.union([text, texts]));

export const endpointSettings = z.object({
  Aliases: opt(texts),
  Links: opt(texts),
  MacAddress: opt(text),
  IPAMConfig: opt(z.object({ IPv4Address: opt(text), IPv6Address: opt(text), LinkLocalIPs: opt(texts) })),
});

export const connectBody = z.object({ Container: text.default(''), EndpointConfig: opt(endpointSettings) });
export const disconnectBody = z.object({ Container: text.default(''), Force: opt(z.boolean()) });

export const containerCreateBody = z.object({
  Image: text.default(''),
  Hostname: opt(text),
  Domainname: opt(text),
  User: opt(text),
  Tty: opt(z.boolean()),
  OpenStdin: opt(z.boolean()),
  StdinOnce: opt(z.boolean()),
  Env: opt(texts),
  Cmd: words,
  Entrypoint: words,
  WorkingDir: opt(text),
  Labels: opt(textMap),
  StopSignal: opt(text),
  StopTimeout: opt(int),
  MacAddress: opt(text),
  Shell: opt(texts),
  Volumes: opt(z.record(text, z.unknown())),
  Healthcheck: opt(health),
  ExposedPorts: opt(z.record(text, z.unknown())),
  AttachStdin: opt(z.boolean()),
  AttachStdout: opt(z.boolean()),
  AttachStderr: opt(z.boolean()),
  HostConfig: opt(z.record(text, z.unknown())),
  NetworkingConfig: opt(
    z.object({
      EndpointsConfig: opt(z.record(text, z.nullable(endpointSettings))),
    }),
  ),
});

/** A HostConfig, of which the converter reads what is served and refuses what else says anything. */
export const containerUpdateBody = z.record(text, z.unknown());

/** Of `docker run`; the words for a type that there is not are others than for a service. */
const containerMount = mount.extend({
  Type: word(
    ['bind', 'volume', 'tmpfs'],
    (given) => `invalid mount config for type "${given}": mount type unknown`,
  ).default('volume'),
});

/** What is served of a HostConfig; the converter refuses what else says anything. */
export const hostConfig = z.object({
  AutoRemove: opt(z.boolean()),
  Binds: opt(texts),
  CapAdd: opt(texts),
  CapDrop: opt(texts),
  Dns: opt(texts),
  DnsOptions: opt(texts),
  DnsSearch: opt(texts),
  ExtraHosts: opt(texts),
  GroupAdd: opt(texts),
  Init: opt(z.boolean()),
  LogConfig: opt(z.object({ Type: opt(text), Config: opt(textMap) })),
  Memory: int.default(0),
  MemorySwap: int.default(0),
  Isolation: opt(text),
  Mounts: opt(z.array(containerMount)),
  NanoCpus: opt(int),
  NetworkMode: opt(text),
  OomScoreAdj: opt(int),
  PidsLimit: opt(int),
  PortBindings: opt(
    z.record(text, z.nullable(z.array(z.object({ HostIp: opt(text), HostPort: opt(text) })))),
  ),
  PublishAllPorts: opt(z.boolean()),
  ReadonlyRootfs: opt(z.boolean()),
  RestartPolicy: opt(z.object({ Name: opt(text), MaximumRetryCount: opt(int) })),
  ShmSize: opt(int),
  Sysctls: opt(textMap),
  Tmpfs: opt(textMap),
  Ulimits: opt(z.array(z.object({ Name: text, Soft: int, Hard: int }))),
  VolumeDriver: opt(text),
});
