/**
 * What `skein uninstall` takes off a host, as a value: shown by `--dry-run`, executed by cli/uninstall.ts. Each step may
 * be repeated, and they are in an order that can be broken off anywhere: what later ones need goes last, and the command
 * itself last of all.
 */
import { join } from 'node:path';
import { DATA_ENTRIES } from './folders.ts';
import { HOST_NETWORK_FILES } from './host-network.ts';
import { COMMAND, LIBRARY, SETTINGS_FILE, UNFINISHED, UNIT_FILE } from './install-plan.ts';
import { type Settings, socketPath } from './settings.ts';

export type UninstallStep =
  | { readonly kind: 'systemctl'; readonly args: readonly string[] }
  | { readonly kind: 'stop-daemon' }
  /** Asked, and killed after their grace, as when the host goes down. */
  | { readonly kind: 'end-containers' }
  | { readonly kind: 'clear-network' }
  /** Processes, mounts, the run root, cgroups. */
  | { readonly kind: 'take-power' }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'remove-if-empty'; readonly path: string };

export interface UninstallFacts {
  readonly settings: Settings;
  /** systemd runs here, and knows of skein.service. */
  readonly hasUnit: boolean;
  readonly isMember: boolean;
  /** Go on though this node is in a cluster. */
  readonly force: boolean;
  /** Take the data too. */
  readonly data: boolean;
}

/** Why it is not done; undefined: it is. */
export function whyNot({ isMember, force, settings }: UninstallFacts): string | undefined {
  if (!isMember || force) return undefined;
  return [
    'this node is part of a cluster, and nothing was changed. Take it out first:',
    `  docker -H unix://${socketPath(settings)} swarm leave      (with --force on a manager; demote it before, where there are others)`,
    'or go on with --force: for the cluster it is Down then, until `docker node rm` on a manager.',
  ].join('\n');
}

const CACHE = '/var/cache/skein';

export function planUninstall({ settings, hasUnit, data }: UninstallFacts): readonly UninstallStep[] {
  const { dataRoot } = settings;
  const remove = (...paths: string[]) => paths.map((path) => ({ kind: 'remove', path }) as const);
  const systemctl = (...args: string[]): readonly UninstallStep[] =>
    hasUnit ? [{ kind: 'systemctl', args }] : [];
  return [
    ...systemctl('disable', '--now', 'skein.service'),
    { kind: 'stop-daemon' },
    { kind: 'end-containers' },
    { kind: 'clear-network' },
    { kind: 'take-power' },
    ...remove(...(settings.socket ? [settings.socket] : []), UNIT_FILE),
    // After the last link of Skein's is gone.
    ...remove(...HOST_NETWORK_FILES.map(({ path }) => path)),
    ...systemctl('daemon-reload'),
    ...systemctl('try-reload-or-restart', 'systemd-networkd.service'),
    ...remove(CACHE),
    ...(data
      ? [
          ...remove(...DATA_ENTRIES.map((name) => join(dataRoot, name)), SETTINGS_FILE, UNFINISHED),
          ...[dataRoot, '/etc/skein'].map((path) => ({ kind: 'remove-if-empty', path }) as const),
        ]
      : []),
    ...remove(`${LIBRARY}.new`, COMMAND, LIBRARY),
  ];
}
