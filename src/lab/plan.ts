/**
 * lab/ runs several real nodes on one machine, each in its own network namespace on a shared segment, with a client
 * outside. The demo, the tests and the benchmarks call it, and `skein lab` for people. If it lies, every proof made
 * in it is worth nothing: so nodes are the real daemon, the kernel's own links, and `down` removes by looking at the
 * machine and not at its notes.
 *
 * This file is the pure part: every name and address follows from the lab's name and the node's number. One more node
 * costs a namespace, a pair of links and its processes; labs side by side share nothing but the machine.
 */
import { SkeinError } from '../model/errors.ts';

export interface LabOptions {
  readonly name: string;
  readonly nodes: number;
  /** How many of the nodes are managers, the first ones; 1 unless given. */
  readonly managers?: number;
  /** False leaves the nodes alone, each outside of any cluster. */
  readonly cluster?: boolean;
  /** Uplink MTU by node name, 1500 unless given. */
  readonly mtus?: Readonly<Record<string, number>>;
  /** Settings of every daemon beside those that the lab gives (camelCase, as in the settings file). */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** `swarm init`: pools and mask length. The reference capture's ingress network is 10.255.0.0/16. */
  readonly addressPools?: readonly string[];
  readonly subnetSize?: number;
}

/** A namespace on the segment: a node, or the client. */
export interface Station {
  readonly name: string;
  readonly netns: string;
  readonly address: string;
  readonly mac: string;
  /** The underlay's end of its link. */
  readonly port: string;
  readonly mtu: number;
}

export interface NodePlan extends Station {
  readonly manager: boolean;
  readonly dataRoot: string;
  readonly runRoot: string;
  readonly socket: string;
  readonly cgroupParent: string;
}

export interface LabPlan {
  readonly name: string;
  readonly dataFolder: string;
  readonly runFolder: string;
  readonly stateFile: string;
  readonly underlay: { readonly netns: string; readonly bridge: string };
  readonly client: Station;
  readonly nodes: readonly NodePlan[];
  readonly cluster: boolean;
  readonly addressPools: readonly string[];
  readonly subnetSize: number;
}

export const DATA_FOLDER = '/var/lib/skein-lab';
export const RUN_FOLDER = '/run/skein-lab';
export const NETNS_FOLDER = '/run/netns';
export const CGROUP_FOLDER = 'skein-lab';
export const UPLINK = 'eth0';
const UNDERLAY_LENGTH = 24;

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;
const MAX_NODES = 100;

export function checkLabName(name: string): string {
  if (!NAME.test(name) || name.length > 40)
    throw new SkeinError(
      'invalid-argument',
      `invalid lab name "${name}": letters a-z, digits and single dashes`,
    );
  return name;
}

/** Names of the demo's lab and the benchmarks': each takes down what it finds under its own, which nobody else may use. */
export const DEMO_LAB = 'demo';
export const benchLab = (benchmark: string): string => `bench-${benchmark}`;

export function checkFreeName(name: string): string {
  if (name === DEMO_LAB || name.startsWith(benchLab('')))
    throw new SkeinError(
      'invalid-argument',
      `a lab of the name ${name} would be taken down by skein ${name.replace('-', ' ')}: use another name`,
    );
  return name;
}

/** Whether a file in /run/netns is this lab's; exact, so that lab `x` never takes lab `x-y` for its own. */
export const isLabNetns = (lab: string, file: string): boolean =>
  file.startsWith(`skein-${lab}-`) && /^(node\d+|client|underlay)$/.test(file.slice(`skein-${lab}-`.length));

export const labFolders = (lab: string): { readonly data: string; readonly run: string } => ({
  data: `${DATA_FOLDER}/${lab}`,
  run: `${RUN_FOLDER}/${lab}`,
});

export function planLab(options: LabOptions): LabPlan {
  const name = checkLabName(options.name);
  const managers = options.managers ?? 1;
  if (!Number.isInteger(options.nodes) || options.nodes < 1 || options.nodes > MAX_NODES)
    throw new SkeinError('invalid-argument', `a lab has 1 to ${MAX_NODES} nodes, not ${options.nodes}`);
  if (!Number.isInteger(managers) || managers < 1 || managers > options.nodes)
    throw new SkeinError('invalid-argument', `of ${options.nodes} nodes ${managers} can not be managers`);
  const folders = labFolders(name);
  const nodes = Array.from({ length: options.nodes }, (_, i) => planNode(options, i, i < managers));
  for (const node of Object.keys(options.mtus ?? {}))
    if (!nodes.some((n) => n.name === node))
      throw new SkeinError('invalid-argument', `no such node: ${node}`);
  return {
    name,
    dataFolder: folders.data,
    runFolder: folders.run,
    stateFile: `${folders.data}/lab.json`,
    underlay: { netns: netnsPath(name, 'underlay'), bridge: 'br0' },
    client: station(name, 'client', 200, 1500),
    nodes,
    cluster: options.cluster ?? true,
    addressPools: options.addressPools ?? ['10.255.0.0/16', '10.0.0.0/8'],
    subnetSize: options.subnetSize ?? 16,
  };
}

function planNode(options: LabOptions, index: number, manager: boolean): NodePlan {
  const name = `node${index + 1}`;
  const folders = labFolders(options.name);
  const runRoot = `${folders.run}/${name}`;
  return {
    ...station(options.name, name, 11 + index, options.mtus?.[name] ?? 1500),
    manager,
    dataRoot: `${folders.data}/${name}`,
    runRoot,
    socket: `${runRoot}/skein.sock`,
    cgroupParent: `/${CGROUP_FOLDER}/${options.name}/${name}`,
  };
}

const netnsPath = (lab: string, station: string): string => `${NETNS_FOLDER}/skein-${lab}-${station}`;

function station(lab: string, name: string, host: number, mtu: number): Station {
  return {
    name,
    netns: netnsPath(lab, name),
    address: `192.0.2.${host}`,
    // Fixed, as a network card's is: a reboot of the node does not change it.
    mac: `52:54:00:00:02:${host.toString(16).padStart(2, '0')}`,
    port: `p-${name}`,
    mtu,
  };
}

/** The node or client of that name. */
export function stationOf(plan: LabPlan, name: string): Station {
  const found = name === 'client' ? plan.client : plan.nodes.find((n) => n.name === name);
  if (found) return found;
  const known = [...plan.nodes.map((n) => n.name), 'client'].join(', ');
  throw new SkeinError('not-found', `no such node in lab ${plan.name}: ${name} (there are: ${known})`);
}

export function nodeOf(plan: LabPlan, name: string): NodePlan {
  const found = stationOf(plan, name);
  if ('dataRoot' in found) return found as NodePlan;
  throw new SkeinError('invalid-argument', `${name} is not a node`);
}

/** Batch for `ip -batch` in the underlay's namespace that joins a station's link end to the segment. */
export const portBatch = (plan: LabPlan, station: Station, up: boolean): string =>
  [
    `link set ${station.port} mtu ${station.mtu}`,
    `link set ${station.port} master ${plan.underlay.bridge}`,
    `link set ${station.port} ${up ? 'up' : 'down'}`,
    '',
  ].join('\n');

/** Batch for the station's own namespace. There is no default route: a lab reaches nothing but itself. */
export const stationBatch = (station: Station): string =>
  [
    'link set lo up',
    `link set ${UPLINK} address ${station.mac} mtu ${station.mtu}`,
    `address add ${station.address}/${UNDERLAY_LENGTH} dev ${UPLINK}`,
    `link set ${UPLINK} up`,
    '',
  ].join('\n');

const CUT_TABLE = 'skein_lab';

/** Loaded once into the underlay: pairs of ports between which nothing passes. */
export const CUT_RULESET = `table bridge ${CUT_TABLE} {
  set cut { type ifname . ifname; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    iifname . oifname @cut drop
  }
}
`;

/** Cuts or heals the way between two stations, both directions; repeatable (the add makes the delete valid). */
export function cutPairBatch(a: Station, b: Station, cut: boolean): string {
  const pairs = `{ "${a.port}" . "${b.port}", "${b.port}" . "${a.port}" }`;
  const add = `add element bridge ${CUT_TABLE} cut ${pairs}\n`;
  return cut ? add : `${add}delete element bridge ${CUT_TABLE} cut ${pairs}\n`;
}

export const HEAL_PAIRS = `flush set bridge ${CUT_TABLE} cut\n`;
