/** The ways of `bench mesh` from the client to a task: how each is laid, and where it begins. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../../kit/process.ts';
import { until } from '../../lab/cluster.ts';
import type { Lab } from '../../lab/lab.ts';
import type { Replica } from '../demo/facts.ts';
import type { BenchStage } from './stage.ts';

/** Where connections come from, and the node that they come in by. */
export const CLIENT = 'client';
const ENTRY = 'node1';
export const CONTENDERS = ['mesh', 'bare path', 'HAProxy'] as const;
export type Contender = (typeof CONTENDERS)[number];

export interface Target {
  readonly name: string;
  readonly node: string;
  readonly published: number;
  readonly proxied: number;
  /** Published for HAProxy's task, so that it stands on the ingress network; nobody asks there. */
  readonly unused: number;
}

export const TARGETS: readonly Target[] = [
  { name: 'task on this node', node: 'node1', published: 8001, proxied: 9001, unused: 8101 },
  { name: 'task on the other node', node: 'node2', published: 8002, proxied: 9002, unused: 8102 },
];

/** The client reaches the tasks' own addresses over node1, untracked and untranslated, and they answer that way. */
export async function openBarePath(lab: Lab, replicas: readonly Replica[]): Promise<void> {
  const [node] = lab.plan.nodes;
  const client = lab.plan.client.address;
  const hosts = replicas.map((r) => r.address).join(', ');
  const rules = [
    'table ip bench {',
    '  chain prerouting {',
    '    type filter hook prerouting priority -301;',
    `    ip saddr ${client} ip daddr { ${hosts} } notrack`,
    `    ip saddr { ${hosts} } ip daddr ${client} notrack`,
    '  }',
    '}',
  ];
  await lab.exec(ENTRY, ['nft', '-f', '-'], { input: `${rules.join('\n')}\n` });
  const { stdout } = await lab.exec(ENTRY, ['ip', '-4', '-o', 'address', 'show', 'dev', 'sk-ingress']);
  const endpoint = /inet ([\d.]+)/.exec(stdout)![1]!;
  for (const replica of replicas) {
    await lab.exec(CLIENT, ['ip', 'route', 'add', `${replica.address}/32`, 'via', node!.address]);
    const inside = ['nsenter', `--net=/proc/${replica.pid}/ns/net`, '--'];
    await runProcess([...inside, 'ip', 'route', 'add', `${client}/32`, 'via', endpoint]);
  }
}

export async function startProxy(
  stage: BenchStage,
  lab: Lab,
  replicas: ReadonlyMap<Target, Replica>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-bench-'));
  const file = join(folder, 'haproxy.cfg');
  const { address } = lab.plan.nodes[0]!;
  const listeners = [...replicas].flatMap(([target, replica]) => [
    `listen ${target.node}`,
    `  bind ${address}:${target.proxied}`,
    `  server task ${replica.address}:80`,
  ]);
  const head = ['global', '  maxconn 4000', '  nbthread 2', 'defaults', '  mode tcp'];
  const timeouts = ['connect 5s', 'client 30s', 'server 30s'].map((t) => `  timeout ${t}`);
  writeFileSync(file, `${[...head, ...timeouts, ...listeners].join('\n')}\n`);
  const [command = '', ...args] = [...lab.enter('node1'), 'haproxy', '-q', '-db', '-f', file];
  const proxy = spawn(command, args, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => proxy.on('close', () => resolve()));
  stage.cleanUp(async () => {
    proxy.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  });
  for (const { proxied } of replicas.keys())
    await until(
      'HAProxy to answer',
      async () => {
        const argv = ['busybox', 'wget', '-q', '-O', '/dev/null', `http://${address}:${proxied}/`];
        return (await lab.exec(CLIENT, argv, { accept: [0, 1] })).code === 0 || 'no answer';
      },
      { timeoutMs: 10_000, signal: stage.signal },
    );
}

export function urlOf(lab: Lab, contender: Contender, target: Target, replica: Replica): string {
  const { address } = lab.plan.nodes[0]!;
  if (contender === 'bare path') return `http://${replica.address}:80`;
  return `http://${address}:${contender === 'mesh' ? target.published : target.proxied}`;
}
