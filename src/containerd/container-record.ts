/** Between containerd's words and ours: the record of a container, the state of its task, the texts of its errors. Pure. */
import { SkeinError } from '../model/errors.ts';
import { SNAPSHOTTER } from './api.ts';
import type { Exit } from './container-files.ts';
import type { Container } from './gen/containers_pb.js';
import { type Process, Status } from './gen/task-types_pb.js';
import { keepsNothing, UNREADABLE } from '../model/log-driver.ts';
import { formatTime, type StreamName } from './log-record.ts';
import type { ContainerConfig, ContainerInfo, LocalImage, LogQuery, MountPoint } from './runtime.ts';

const RUNTIME = 'io.containerd.runc.v2';
const SPEC_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';
const RESOURCES_TYPE = 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources';
const CONFIG_EXTENSION = 'skein.config';
const MOUNTS_EXTENSION = 'skein.mounts';

/** What is kept of its output: of a user's own container, to which he may attach, a little even where he wants no log. */
export function streamsOf({ spec, logging, restartable = false }: ContainerConfig): StreamName[] {
  if (keepsNothing(logging) && !restartable) return [];
  return spec.TTY ? ['stdout'] : ['stdout', 'stderr'];
}

/** Throws where there is nothing to read for who asks. */
export function checkReadable(config: ContainerConfig | undefined, { attached = false }: LogQuery): void {
  if (!keepsNothing(config?.logging)) return;
  if (!attached || !config?.restartable) throw new SkeinError('unimplemented', UNREADABLE);
}

export const isoTime = (time: { seconds: bigint; nanos: number } | undefined): string =>
  time ? formatTime(time.seconds * 1_000_000_000n + BigInt(time.nanos)) : '';

const json = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));

export function record(
  config: ContainerConfig,
  spec: object,
  image: LocalImage,
  mounts: readonly MountPoint[],
  options: { typeUrl: string; value: Uint8Array },
) {
  return {
    id: config.id,
    image: image.id,
    runtime: { name: RUNTIME, options },
    spec: { typeUrl: SPEC_TYPE, value: json(spec) },
    snapshotter: SNAPSHOTTER,
    snapshotKey: config.id,
    extensions: {
      [CONFIG_EXTENSION]: { typeUrl: 'skein.containerd.config', value: json(config) },
      [MOUNTS_EXTENSION]: { typeUrl: 'skein.containerd.mounts', value: json(mounts) },
    },
  };
}

/** As containerd takes them for a task that runs; its devices are not touched. */
export const resourcesAny = (resources: object) => ({
  typeUrl: RESOURCES_TYPE,
  value: json({ ...resources, devices: undefined }),
});

/** As it is before its process runs. */
export const newContainer = (
  config: ContainerConfig,
  mounts: readonly MountPoint[],
  container: Container | undefined,
): ContainerInfo => ({
  ...{ id: config.id, name: config.name, image: config.image, labels: config.labels, config, mounts },
  ...{
    imageId: container?.image ?? '',
    createdAt: isoTime(container?.createdAt),
    status: 'created',
    pid: 0,
    exitCode: 0,
    startError: '',
    exitedAt: undefined,
    oomKilled: false,
  },
});

/** The record with another config, and in the OCI spec other resources. */
export function changedRecord(container: Container, config: ContainerConfig, resources: object) {
  const { id, spec, extensions } = container;
  const oci = JSON.parse(Buffer.from(spec?.value ?? []).toString()) as { readonly linux: object };
  const changed = { ...oci, linux: { ...oci.linux, resources } };
  return {
    id,
    spec: { typeUrl: SPEC_TYPE, value: json(changed) },
    extensions: {
      ...extensions,
      [CONFIG_EXTENSION]: { typeUrl: 'skein.containerd.config', value: json(config) },
    },
  };
}

/** What was said of the container when it was made; undefined: it is none of ours. */
export function readRecord({
  extensions,
}: Container): { readonly config: ContainerConfig; readonly mounts: readonly MountPoint[] } | undefined {
  const read = (name: string): unknown => {
    const value = extensions[name]?.value;
    return value && JSON.parse(Buffer.from(value).toString());
  };
  const config = read(CONFIG_EXTENSION) as ContainerConfig | undefined;
  return config && { config, mounts: (read(MOUNTS_EXTENSION) ?? []) as readonly MountPoint[] };
}

export function statusOf(task: Process | undefined): ContainerInfo['status'] {
  switch (task?.status) {
    case Status.CREATED:
      return 'created';
    case Status.RUNNING:
      return 'running';
    case Status.PAUSED:
    case Status.PAUSING:
      return 'paused';
    case Status.STOPPED:
      return 'stopped';
    default:
      return 'unknown';
  }
}

export const exitOf = (task: Process | undefined): Exit | undefined =>
  task?.status === Status.STOPPED
    ? { exitCode: task.exitStatus, exitedAt: isoTime(task.exitedAt) }
    : undefined;

/** Docker's exit code of what ran when the machine went down. */
const LOST = 255;

/** It was started, and neither runs nor is there a word of its end: the machine was rebooted under it. */
export const lostExit = (task: Process | undefined, startedAt: string | undefined): Exit | undefined =>
  task === undefined && startedAt !== undefined ? { exitCode: LOST, exitedAt: startedAt } : undefined;

/** What a person reads in `service ps`: containerd's text behind Docker's words, without the name of the call. */
export function ociError(thrown: unknown, context: string): SkeinError {
  const error = SkeinError.from(thrown);
  const detail = /^containerd: Tasks\.\w+: (.*)$/s.exec(error.message)?.[1];
  return detail === undefined
    ? error
    : new SkeinError(error.code, `${context}: ${detail}`, { cause: thrown });
}

const EXIT_CODES: readonly (readonly [words: RegExp, exitCode: number])[] = [
  [/executable file not found|no such file or directory/, 127],
  [/permission denied|is a directory/, 126],
];
/** Docker's, of what failed before any program was looked for. */
const NOT_RUN = 128;

/** A start that came to nothing, with the exit code that a shell gives it. */
export function startFailure({ message }: SkeinError): { readonly error: string; readonly exitCode: number } {
  const exitCode = EXIT_CODES.find(([words]) => words.test(message))?.[1] ?? NOT_RUN;
  return { error: message, exitCode };
}
