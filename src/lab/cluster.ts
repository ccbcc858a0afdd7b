/** Forms a cluster out of running nodes, through each node's own API: init on the first, join on the others. */
import { setTimeout as delay } from 'node:timers/promises';
import { isCode, SkeinError } from '../model/errors.ts';
import { EngineClient } from './client.ts';
import type { LabPlan, NodePlan } from './plan.ts';

interface SwarmAnswer {
  readonly JoinTokens: { readonly Worker: string; readonly Manager: string };
}

interface NodeAnswer {
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
}

export const engineOf = (node: NodePlan): EngineClient => new EngineClient(node.socket);

/** Polls until `ready` says so; the error tells what was waited for and what was last seen. */
export async function until(
  what: string,
  ready: () => Promise<true | string>,
  options: { readonly timeoutMs: number; readonly everyMs?: number; readonly signal?: AbortSignal },
): Promise<void> {
  const deadline = Date.now() + options.timeoutMs;
  for (;;) {
    options.signal?.throwIfAborted();
    const seen = await ready();
    if (seen === true) return;
    if (Date.now() > deadline) throw new SkeinError('deadline-exceeded', `waited for ${what}; ${seen}`);
    await delay(options.everyMs ?? 50, undefined, options.signal ? { signal: options.signal } : {});
  }
}

/** Until as many new connections in a row are answered by so many containers; `ask` gives the name of one, if any. */
export const untilAnsweredBy = (
  count: number,
  through: string,
  ask: () => Promise<string | undefined>,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<void> =>
  until(
    `${through} to lead to ${count} tasks`,
    async () => {
      const names = new Set<string | undefined>();
      for (let n = 0; n < count; n++) names.add(await ask());
      return (names.size === count && !names.has(undefined)) || [...names].join();
    },
    options,
  );

export async function initCluster(plan: LabPlan, signal?: AbortSignal): Promise<void> {
  const first = plan.nodes[0]!;
  const request = {
    ListenAddr: '0.0.0.0:2377',
    AdvertiseAddr: first.address,
    DefaultAddrPool: plan.addressPools,
    SubnetSize: plan.subnetSize,
  };
  await engineOf(first).post('/swarm/init', request, { ...(signal && { signal }) });
}

/** Managers one after the other, because etcd grows by one member at a time; workers all at once. */
export async function joinAll(
  plan: LabPlan,
  progress: (text: string) => void,
  signal?: AbortSignal,
): Promise<void> {
  const [first, ...others] = plan.nodes as [NodePlan, ...NodePlan[]];
  const { JoinTokens } = await engineOf(first).get<SwarmAnswer>('/swarm');
  for (const node of others.filter((n) => n.manager)) {
    progress(`${node.name} joins as a manager`);
    await join(node, first, JoinTokens.Manager, signal);
  }
  const workers = others.filter((n) => !n.manager);
  if (workers.length > 0)
    progress(`${workers.map((n) => n.name).join(', ')}: joining as worker${workers.length > 1 ? 's' : ''}`);
  await Promise.all(workers.map((node) => join(node, first, JoinTokens.Worker, signal)));
}

export function join(node: NodePlan, via: NodePlan, token: string, signal?: AbortSignal): Promise<unknown> {
  const request = {
    ListenAddr: '0.0.0.0:2377',
    AdvertiseAddr: node.address,
    RemoteAddrs: [`${via.address}:2377`],
    JoinToken: token,
  };
  return engineOf(node).post('/swarm/join', request, { ...(signal && { signal }) });
}

/** Until every node is ready in the eyes of the first, whose manager may only be starting. */
export function awaitReady(plan: LabPlan, signal?: AbortSignal): Promise<void> {
  const engine = engineOf(plan.nodes[0]!);
  return until(
    'all nodes to be ready',
    async () => {
      const nodes = await engine.get<readonly NodeAnswer[]>('/nodes').catch((error: unknown) => {
        if (!isCode(error, 'unavailable')) throw error;
        return SkeinError.from(error).message;
      });
      if (typeof nodes === 'string') return nodes;
      const ready = nodes.filter((n) => n.Status.State === 'ready');
      if (ready.length === plan.nodes.length) return true;
      return `seen: ${nodes.map((n) => `${n.Description.Hostname} ${n.Status.State}`).join(', ')}`;
    },
    { timeoutMs: 60_000, ...(signal && { signal }) },
  );
}
