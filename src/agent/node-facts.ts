/** What this machine is, for `node inspect`, `info` and the scheduler. Read once at start. */
import { readFileSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import * as os from 'node:os';
import { join } from 'node:path';
import type { Mac } from '../model/ids.ts';
import type { NodeDescription } from '../model/objects.ts';
import type { GenericResource, Labels } from '../model/spec.ts';

export interface NodeSettings {
  readonly hostname: string;
  readonly engineVersion: string;
  readonly engineLabels: Labels;
  readonly genericResources: readonly GenericResource[];
  readonly uplinkMac: Mac;
}

const PLUGINS = [
  { type: 'Log', name: 'json-file' },
  { type: 'Network', name: 'bridge' },
  { type: 'Network', name: 'host' },
  { type: 'Network', name: 'null' },
  { type: 'Network', name: 'overlay' },
  { type: 'Volume', name: 'local' },
];

const MACHINES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };

/** As uname has it, and Docker shows it. */
export const PLATFORM = { architecture: MACHINES[process.arch] ?? process.arch, os: 'linux' } as const;

export function describeNode(settings: NodeSettings): NodeDescription {
  return {
    hostname: settings.hostname,
    platform: PLATFORM,
    resources: {
      nanoCpus: os.availableParallelism() * 1e9,
      memoryBytes: os.totalmem(),
      ...(settings.genericResources.length > 0 && { generic: settings.genericResources }),
    },
    engine: { version: settings.engineVersion, labels: settings.engineLabels, plugins: PLUGINS },
    uplinkMac: settings.uplinkMac,
  };
}

export interface HostFacts {
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  readonly cgroupVersion: '1' | '2';
}

export async function readHostFacts(): Promise<HostFacts> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string): string =>
    new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(release)?.[1] ?? '';
  const unified = await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8').then(
    () => true,
    () => false,
  );
  return {
    kernelVersion: os.release(),
    operatingSystem: field('PRETTY_NAME') || 'Linux',
    osVersion: field('VERSION_ID'),
    cgroupVersion: unified ? '2' : '1',
  };
}

/** The id of this engine: made once, kept in the data root, so that it outlives clusters. */
export async function engineId(dataRoot: string, make: () => string): Promise<string> {
  const path = join(dataRoot, 'engine-id');
  const known = (await readFile(path, 'utf8').catch(() => '')).trim();
  if (known) return known;
  const id = make();
  await mkdir(dataRoot, { recursive: true });
  await writeFile(`${path}.new`, `${id}\n`, { flush: true });
  await rename(`${path}.new`, path);
  return id;
}

/** The node's own, as it is now; empty where it has none. Read on the way of every start: not through the thread pool. */
export function readResolvConf(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}
