/** The demo's proofs: each asks the running cluster, prints what it saw and adds to the check list. */
import { type RunProcess, type RunResult, runProcess } from '../../kit/process.ts';
import type { Lab } from '../../lab/lab.ts';
import { isCode } from '../../model/errors.ts';
import { renderTable } from '../../trace/table.ts';
import type { CheckList } from './checks.ts';
import { type Answer, ingressFact, type IngressFact, parseAnswer, type Replica, replicaOf } from './facts.ts';

export interface Stage {
  readonly lab: Pick<Lab, 'plan' | 'exec' | 'engine'>;
  readonly checks: CheckList;
  readonly print: (text: string) => void;
  /** Ends the demo. */
  readonly signal: AbortSignal;
}

export const PUBLISHED = 80;
export const TARGET = 80;
const REQUESTS = 30;
/** Until a request counts as lost. */
const ANSWER_MS = 3_000;
const INGRESS_SUBNET = '10.255.0.0/16';

const http = (address: string, port: number): readonly string[] => [
  ...['busybox', 'wget', '-q', '-O', '-'],
  `http://${address}:${port}/`,
];

/** What a program printed; nothing where it hung, as one does whose packets are lost, and was ended. */
async function printed(running: Promise<RunResult>): Promise<string> {
  try {
    return (await running).stdout;
  } catch (error) {
    if (isCode(error, 'deadline-exceeded')) return '';
    throw error;
  }
}

/** Asks through a new connection; undefined when nothing or nonsense comes back. */
export async function ask(
  { lab, signal }: Pick<Stage, 'lab' | 'signal'>,
  where: string,
  address: string,
  port: number,
): Promise<Answer | undefined> {
  const asking = lab.exec(where, http(address, port), { accept: [0, 1], timeoutMs: ANSWER_MS, signal });
  return parseAnswer(await printed(asking));
}

/** Runs a program of the host in a container's network namespace. */
const inside = (replica: Replica, argv: readonly string[]): readonly string[] => [
  'nsenter',
  `--net=/proc/${replica.pid}/ns/net`,
  '--',
  ...argv,
];

export async function proveIngress({ lab, checks, print }: Stage): Promise<readonly IngressFact[]> {
  const facts = await Promise.all(lab.plan.nodes.map((n) => ingressFact(lab.engine(n.name), n.name)));
  const rows = facts.map((fact) => [
    fact.node,
    fact.subnet,
    fact.endpoint ? `${fact.endpoint.address} ${fact.endpoint.mac}` : '-',
    fact.peers.join(', '),
    fact.containers.map((c) => `${c.name.split('.').slice(0, 2).join('.')} ${c.address}`).join(', '),
  ]);
  print(renderTable([['node', 'subnet', 'ingress endpoint', 'peers', 'containers here'], ...rows]));
  const subnets = [...new Set(facts.map((fact) => fact.subnet))];
  checks.add(
    `the ingress network is ${INGRESS_SUBNET}`,
    subnets.join() === INGRESS_SUBNET,
    `inspect says ${subnets.join(', ')}`,
  );
  const endpoints = facts.map((fact) => fact.endpoint?.address).filter((address) => address !== undefined);
  checks.add(
    'one ingress endpoint a node, each its own',
    endpoints.length === facts.length && new Set(endpoints).size === facts.length,
    endpoints.join(', '),
  );
  const addresses = lab.plan.nodes.map((node) => node.address);
  const onManagers = facts.filter((_, index) => lab.plan.nodes[index]!.manager);
  checks.add(
    'every node is a peer of the ingress network',
    onManagers.every((fact) => addresses.every((address) => fact.peers.includes(address))),
    onManagers.map((fact) => `${fact.node} lists ${fact.peers.join(', ')}`).join('; '),
  );
  return facts;
}

export async function proveReplicas(
  { lab, checks, print, signal }: Stage,
  replicas: readonly Replica[],
  run: RunProcess = runProcess,
): Promise<void> {
  const rows = await Promise.all(
    replicas.map(async (replica) => {
      const argv = inside(replica, http('127.0.0.1', TARGET));
      const answer = parseAnswer(await printed(run(argv, { accept: [0, 1], timeoutMs: ANSWER_MS, signal })));
      return { replica, answer, here: answer !== undefined && replicaOf(answer, replicas) === replica };
    }),
  );
  const cells = rows.map(({ replica, answer }) => [
    replica.name,
    replica.node,
    replica.address,
    replica.containerId.slice(0, 12),
    answer ? `${answer.container} at ${answer.addresses.join(' ')}` : 'no answer',
  ]);
  print(
    renderTable([['task', 'node', 'address', 'container', `asked directly on port ${TARGET}`], ...cells]),
  );
  const counts = lab.plan.nodes.map((node) => replicas.filter((r) => r.node === node.name).length);
  const spread = lab.plan.nodes.map((node, i) => `${counts[i]} on ${node.name}`).join(', ');
  checks.add(
    'two containers serve the port on one node, one on the other',
    counts.toSorted((a, b) => a - b).join() === '1,2' && rows.every(({ here }) => here),
    `${spread}; ${rows.filter(({ here }) => here).length} of ${rows.length} answer when asked directly`,
  );
}

/** New connections from the client through one node, counted by the container that answered. */
export async function proveMesh(stage: Stage, replicas: readonly Replica[]): Promise<void> {
  const { lab, checks, print } = stage;
  const rows: string[][] = [];
  for (const node of lab.plan.nodes) {
    const counts = new Map(replicas.map((replica) => [replica.name, 0]));
    let lost = 0;
    for (let i = 0; i < REQUESTS; i++) {
      const answer = await ask(stage, 'client', node.address, PUBLISHED);
      const replica = answer && replicaOf(answer, replicas);
      if (replica) counts.set(replica.name, counts.get(replica.name)! + 1);
      else lost++;
    }
    rows.push([`${node.name} ${node.address}:${PUBLISHED}`, ...[...counts.values(), lost].map(String)]);
    const reached = replicas.filter((replica) => counts.get(replica.name)! > 0);
    const silent = replicas.filter((replica) => !reached.includes(replica)).map(({ name }) => name);
    checks.add(
      `${node.name} answers on port ${PUBLISHED}`,
      lost === 0,
      `${REQUESTS - lost} of ${REQUESTS} connections answered`,
    );
    checks.add(
      `all containers answer through ${node.name}`,
      replicas.length > 0 && silent.length === 0,
      silent.length > 0 ? `not ${silent.join(', ')}` : [...counts].map((count) => count.join(' ')).join(', '),
    );
    for (const other of lab.plan.nodes) {
      const there = reached.filter((replica) => replica.node === other.name).map(({ name }) => name);
      checks.add(
        `a connection to ${node.name} reaches a container on ${other.name}`,
        there.length > 0,
        there.length > 0 ? `${there.join(', ')} answered` : 'none answered',
      );
    }
  }
  const heads = replicas.map((replica) => `${replica.name} (${replica.node})`);
  print(renderTable([['connections to', ...heads, 'lost'], ...rows]));
}

export async function provePings(
  { checks, print, signal }: Stage,
  replicas: readonly Replica[],
  run: RunProcess = runProcess,
): Promise<void> {
  const rows: string[][] = [];
  const lost: string[] = [];
  let sent = 0;
  for (const from of replicas) {
    const cells: string[] = [];
    for (const to of replicas) {
      if (from === to) {
        cells.push('-');
        continue;
      }
      const argv = inside(from, ['busybox', 'ping', '-c', '1', '-W', '2', to.address]);
      const { code, stdout } = await run(argv, { accept: [0, 1], timeoutMs: 5_000, signal });
      sent++;
      if (code !== 0) lost.push(`${from.name} to ${to.name}`);
      cells.push(code === 0 ? `${/time=([\d.]+)/.exec(stdout)?.[1] ?? '?'} ms` : 'lost');
    }
    rows.push([`${from.name} (${from.node})`, ...cells]);
  }
  const heads = replicas.map((replica) => `${replica.name} ${replica.address}`);
  print(renderTable([['ping from', ...heads], ...rows]));
  checks.add(
    'all containers ping each other over the overlay',
    sent > 0 && lost.length === 0,
    `${sent - lost.length} of ${sent} came back${lost.length > 0 ? `, not ${lost.join(', ')}` : ''}`,
  );
}
