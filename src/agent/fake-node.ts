/**
 * A node for tests: the whole agent on a containerd and a kernel in memory, and a manager's side that is told what to
 * assign and remembers what was reported. The agent can be killed and started anew on the same fakes.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FakeRuntime } from '../containerd/fake.ts';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { sha256 } from '../kit/sha256.ts';
import type {
  ContainerId,
  InterfaceAddress,
  Mac,
  NetworkId,
  NodeId,
  SecretId,
  ServiceId,
  TaskId,
} from '../model/ids.ts';
import { containerIdOf } from '../model/names.ts';
import type { NetworkItem } from '../model/network-view.ts';
import type { TaskStatus } from '../model/objects.ts';
import { SkeinError } from '../model/errors.ts';
import { isBefore } from '../model/task-state.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import type { Item, PayloadItem, TaskItem } from '../rpc/messages.ts';
import { Agent } from './agent.ts';
import { PayloadStore } from './payload-store.ts';
import { Assignments, type Items } from './assignments.ts';

export const IMAGE = 'registry.example/web:1';
export const idOf = (taskId: string): ContainerId => containerIdOf(taskId as TaskId, sha256);

const NET = 'net1' as NetworkId;
const NETWORK: NetworkItem = {
  networkId: NET,
  name: 'ingress',
  vni: 4096 as NetworkItem['vni'],
  subnet: '10.255.0.0/16' as NetworkItem['subnet'],
  gateway: '10.255.0.1' as NetworkItem['gateway'],
  ingress: true,
  internal: false,
  mtu: undefined,
};

export const newStatus = (state: TaskStatus['state'] = 'assigned'): TaskStatus => ({
  timestamp: '2026-01-01T00:00:00.000000000Z',
  state,
  message: '',
  err: '',
  container: undefined,
  ports: [],
  health: 'none',
});

export function taskItem(id: string, patch: Partial<TaskItem> = {}): TaskItem {
  return {
    id: id as TaskId,
    serviceId: 'svc' as ServiceId,
    serviceName: 'web',
    serviceLabels: {},
    slot: 1,
    nodeId: 'node1' as NodeId,
    spec: { ContainerSpec: { Image: IMAGE } },
    desiredState: 'running',
    attachments: [
      {
        networkId: NET,
        address: '10.255.0.7/16' as InterfaceAddress,
        mac: '02:00:00:00:00:07' as Mac,
        aliases: [],
      },
    ],
    endpointSpec: {},
    registryAuth: undefined,
    status: newStatus(),
    ...patch,
  };
}

export class FakeNode {
  readonly clock = new VirtualClock();
  runtime = new FakeRuntime({ clock: this.clock });
  network = new FakeNetwork();
  /** Whether the server in the containers listens on this port now. */
  listens = (_port: number): boolean => true;
  readonly dataRoot: string;
  /** As the manager keeps them: with the highest state that was reported. */
  readonly tasks = new Map<string, TaskItem>();
  readonly reports: { readonly id: string; readonly state: string; readonly err: string }[] = [];
  readonly applied: number[] = [];
  /** Sent with the tasks. */
  readonly secrets = new Map<string, PayloadItem<SecretId>>();
  /** Containers that are a user's own. */
  readonly standalone = new Set<ContainerId>();
  #revision = 0;
  #assignments = new Assignments();
  #agent: Agent | undefined;
  /** How many more calls the agent may make before it dies. */
  #life = { calls: Infinity };

  private constructor(dataRoot: string) {
    this.dataRoot = dataRoot;
  }

  static async make(): Promise<FakeNode> {
    return new FakeNode(await mkdtemp(join(tmpdir(), 'skein-agent-')));
  }

  /** `calls`: after so many calls of containerd, kernel and manager the agent is dead: nothing it does takes effect. */
  start(calls = Infinity): this {
    const life = (this.#life = { calls });
    this.#assignments = new Assignments();
    const assignments = this.#assignments;
    const agent: Agent = new Agent({
      runtime: mortal(this.runtime, life),
      network: mortal(this.network, life),
      listeners: { closed: (_netns, _address, ports) => ports.filter((port) => !this.listens(port)) },
      assignments,
      sink: {
        // A killed agent says nothing any more.
        report: (id, status) => {
          if (this.#agent === agent && life.calls-- > 0) this.#take(id, status);
        },
        applied: (revision) => {
          if (this.#agent === agent && life.calls > 0) this.applied.push(revision);
        },
      },
      dataRoot: this.dataRoot,
      // A folder in place of the tmpfs: nothing is mounted.
      payloads: new PayloadStore(this.dataRoot, async () => ({ code: 0, stdout: '', stderr: '' })),
      isStandalone: (id) => this.standalone.has(id),
      hostname: 'n1',
      hash: sha256,
      random: () => 0,
      clock: this.clock,
      log: silentLog,
      resolvConf: () => 'nameserver 192.0.2.53\n',
    });
    this.#agent = agent;
    agent.start();
    return this;
  }

  get isDead(): boolean {
    return this.#life.calls < 0;
  }

  async stop(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.stop();
  }

  async close(): Promise<void> {
    await this.stop();
    await rm(this.dataRoot, { recursive: true, force: true });
  }

  /** What is wanted now; `undefined` takes the task away. */
  assign(id: string, item: TaskItem | undefined): void {
    if (item) this.tasks.set(id, item);
    else this.tasks.delete(id);
  }

  want(id: string, desiredState: TaskItem['desiredState']): void {
    this.tasks.set(id, { ...this.tasks.get(id)!, desiredState });
    this.send();
  }

  /** Sends everything, as a snapshot. */
  send(): void {
    const items: Record<string, Item> = {
      self: {
        kind: 'self',
        value: { nodeId: 'node1' as NodeId, hostname: 'n1', dataPathPort: 4789, ingress: undefined },
      },
      [`network/${NET}`]: { kind: 'network', value: NETWORK },
    };
    for (const [id, value] of this.secrets) items[`secret/${id}`] = { kind: 'secret', value };
    for (const [id, value] of this.tasks) items[`task/${id}`] = { kind: 'task', value };
    this.#assignments.replace(++this.#revision, items satisfies Items);
  }

  /** Lets time pass in small steps until `done`, with real I/O settling in between. */
  async until(what: string, done: () => boolean | Promise<boolean>, limitMs = 120_000): Promise<void> {
    for (let passed = 0; passed <= limitMs; passed += 50) {
      if (await done()) return;
      await this.clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    throw new Error(
      `never came true: ${what}; reports: ${JSON.stringify(this.reports)}; calls: ${this.runtime.calls.slice(-20).join(', ')}`,
    );
  }

  untilState(id: string, state: TaskStatus['state']): Promise<void> {
    return this.until(`${id} ${state}`, () => this.tasks.get(id)?.status.state === state);
  }

  calls(verb: string): string[] {
    return this.runtime.calls.filter((call) => call.split(' ')[0] === verb);
  }

  states(id: string): string[] {
    return this.reports.filter((report) => report.id === id).map(({ state }) => state);
  }

  #take(id: TaskId, status: TaskStatus): void {
    this.reports.push({ id, state: status.state, err: status.err });
    const item = this.tasks.get(id);
    if (item && !isBefore(status.state, item.status.state)) this.tasks.set(id, { ...item, status });
  }
}

/** The same object, as seen by an agent that dies: each call uses up one, calls of the dead do nothing. */
function mortal<T extends object>(target: T, life: { calls: number }): T {
  return new Proxy(target, {
    get(object, key) {
      const value: unknown = Reflect.get(object, key, object);
      if (key === 'images') return mortal(value as object, life);
      if (typeof value !== 'function') return value;
      const method = (value as (...args: unknown[]) => unknown).bind(object);
      if (['events', 'logs', 'announce', 'netnsPath'].includes(key as string)) return method;
      return async (...args: unknown[]) => {
        if (life.calls-- <= 0) throw new SkeinError('canceled', 'the agent was killed');
        return method(...args);
      };
    },
  });
}
