/** A dispatcher on a virtual clock over a store in memory, with agents that are queues. */
import { VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { Ipv4, NodeId, TaskId } from '../../model/ids.ts';
import type { Node, Secret, Task, TaskStatus } from '../../model/objects.ts';
import type { TaskState } from '../../model/task-state.ts';
import type { Encoded } from '../../rpc/frame.ts';
import { PROTOCOL, type Item, type ToAgent, type ToManager } from '../../rpc/messages.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import { Cache } from '../../store/cache.ts';
import { MemoryStore } from '../../store/memory.ts';
import type { Draft, Op } from '../../store/store.ts';
import { Dispatcher } from '../dispatcher/dispatcher.ts';
import { draftOf } from '../step.ts';
import { status as anyStatus, task } from './builders.ts';

export const PERIOD = 5000;
export const description = {
  hostname: 'h',
  platform: { architecture: 'x86_64', os: 'linux' },
  resources: { nanoCpus: 1, memoryBytes: 1 },
  engine: { version: '1', labels: {}, plugins: [] },
  uplinkMac: '02:00:00:00:00:01',
};
const stand = (networkId: string, host: number) => ({
  networkId,
  address: `10.0.0.${host}/24`,
  mac: `02:00:00:00:00:${host.toString(16).padStart(2, '0')}`,
  aliases: [],
});

export const nodeObject = (id: string, host: number, addr = '192.0.2.1') =>
  ({
    id,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    description,
    status: { state: 'ready', message: '', addr },
    dataPathAddr: addr,
    manager: undefined,
    attachments: [stand('ingress', host)],
    certificate: undefined,
  }) as unknown as Draft<'node'>;

export const status = (state: TaskState, at = 1): TaskStatus =>
  anyStatus(state, { timestamp: `2026-01-01T00:00:00.00000000${at}Z` });

export const taskObject = (
  id: string,
  nodeId: string,
  networks: string[],
  state: TaskState,
  desiredState: TaskState,
): Draft<'task'> =>
  draftOf<'task'>(
    task(id, {
      nodeId: nodeId as NodeId,
      desiredState,
      status: status(state),
      attachments: networks.map((network, i) => stand(network, 100 + i)) as unknown as Task['attachments'],
    }),
  );

export const networkObject = (id: string) =>
  ({
    id,
    spec: { Name: id, Driver: 'overlay', Ingress: id === 'ingress' },
    state: { vni: 4096, subnet: '10.0.0.0/24', gateway: '10.0.0.1', ipRange: undefined },
  }) as unknown as Draft<'network'>;

/** As if sealed by turning it round. */
export const openSecret = ({ sealed }: Secret) => [...sealed].reverse().join('');

export class Agent {
  readonly out = new Queue<ToManager>(1000);
  readonly abort = new AbortController();
  items: Record<string, Item> = {};
  revision = 0;
  error: unknown;
  readonly done: Promise<void>;
  heartbeatMs: number | undefined;

  constructor(dispatcher: Dispatcher, nodeId: string, address = '192.0.2.1') {
    this.out.push({
      type: 'hello',
      protocol: PROTOCOL,
      description: description as never,
      dataPathAddr: address as Ipv4,
    });
    const call = {
      peer: { nodeId, role: 'worker', clusterId: 'c', notAfter: 0 },
      address,
      input: this.out,
      signal: this.abort.signal,
    } as unknown as Call<ToManager>;
    this.done = this.#read(dispatcher.session({}, call));
  }

  async #read(stream: AsyncIterable<Encoded>): Promise<void> {
    try {
      for await (const { line } of stream) this.#take(JSON.parse(line.toString()) as ToAgent);
    } catch (error) {
      this.error = error;
    }
  }

  #take(message: ToAgent): void {
    if (message.type === 'welcome') this.heartbeatMs = message.heartbeatMs;
    if (message.type === 'snapshot') this.items = { ...message.items };
    else if (message.type === 'delta') {
      for (const key of message.delete) delete this.items[key];
      Object.assign(this.items, message.put);
    } else return;
    this.revision = message.revision;
  }

  desired(task: string): TaskState | undefined {
    const item = this.items[`task/${task}`];
    return item?.kind === 'task' ? item.value.desiredState : undefined;
  }

  inRotation(network: string, task: string): boolean | undefined {
    const item = this.items[`endpoint/${network}/${task}`];
    return item?.kind === 'endpoint' ? item.value.inRotation : undefined;
  }

  applied(): void {
    this.out.push({ type: 'applied', revision: this.revision });
  }
}

export async function cluster() {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const view = new Cache();
  const stop = new AbortController();
  void view.follow(store, { clock, signal: stop.signal });
  const make = (object: Draft<'node'> | Draft<'task'> | Draft<'network'>, kind: string) =>
    ({ op: 'create', kind, object }) as unknown as Op;
  await store.transact([
    make(networkObject('ingress'), 'network'),
    make(networkObject('net'), 'network'),
    make(networkObject('other'), 'network'),
    make(nodeObject('a', 2), 'node'),
    make(nodeObject('b', 3), 'node'),
  ]);
  await clock.advance(100);
  const dispatcher = new Dispatcher({
    store,
    view,
    clock,
    log: silentLog,
    openSecret,
    leader: () => undefined,
  });
  const term = new AbortController();
  const led = dispatcher.lead(undefined, term.signal);
  const change = async (id: string, edit: (task: Task) => Partial<Task>) => {
    const task = (await store.get('task', id as TaskId))!;
    await store.transact([
      { op: 'update', kind: 'task', object: { ...task, ...edit(task) }, version: task.version },
    ]);
    await clock.advance(20);
  };
  return {
    clock,
    store,
    view,
    dispatcher,
    change,
    add: (task: Draft<'task'>) => store.transact([make(task, 'task')]).then(() => clock.advance(20)),
    node: (id: string) => store.get('node', id as NodeId) as Promise<Node>,
    async end() {
      term.abort();
      stop.abort();
      await clock.advance(100);
      await led;
    },
    async beat(agents: Agent[], ms: number) {
      for (let at = 0; at < ms; at += PERIOD) {
        for (const agent of agents) agent.out.push({ type: 'heartbeat' });
        await clock.advance(Math.min(PERIOD, ms - at));
      }
    },
  };
}
