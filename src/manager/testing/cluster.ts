/** For tests only: a whole manager (all loops, control) over the store in memory, with fake agents and virtual time. */
import type { TestContext } from 'node:test';
import { VirtualClock } from '../../kit/clock.ts';
import { silentLog } from '../../kit/log.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Task } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { Cache } from '../../store/cache.ts';
import { MemoryStore } from '../../store/memory.ts';
import { Control } from '../control/control.ts';
import { initialObjects } from '../control/initial-objects.ts';
import { newSecretsKey, Sealer } from '../secrets/sealer.ts';
import { Manager } from '../manager.ts';
import { olderFirst } from '../task.ts';
import { counterIds, initial, nodeDraft } from './builders.ts';
import { FakeAgents } from './fake-agents.ts';

const TICK_MS = 100;

export class TestCluster {
  readonly clock = new VirtualClock();
  readonly store = new MemoryStore({ clock: this.clock });
  readonly view = new Cache();
  readonly agents = new FakeAgents(this.store, this.view, this.clock);
  readonly #ids = counterIds();
  readonly control: Control;
  readonly sealer: Sealer;
  readonly #abort = new AbortController();
  #leader: { stop: AbortController; done: Promise<void> } | undefined;
  #following: Promise<void> = Promise.resolve();

  constructor() {
    this.sealer = new Sealer(this.#ids.random);
    this.sealer.unlock(newSecretsKey(this.#ids.random));
    this.control = new Control({
      store: this.store,
      view: this.view,
      clock: this.clock,
      random: this.#ids.random,
      leader: () => undefined,
      sealer: this.sealer,
      newToken: (role) => `new-${role}`,
      async *logs() {},
      async *trace() {},
    });
  }

  async start(...nodes: string[]): Promise<this> {
    this.#following = this.view.follow(this.store, { clock: this.clock, signal: this.#abort.signal });
    await this.store.transact(initialObjects(initial(nodeDraft(nodes[0]!))));
    for (const id of nodes.slice(1))
      await this.store.transact([{ op: 'create', kind: 'node', object: nodeDraft(id) }]);
    this.lead();
    await this.run(500);
    return this;
  }

  /** A new leadership, with nothing in memory of the last. */
  lead(): void {
    const { store, view, clock } = this;
    const fence = store.claim('leader', 'test')!;
    const stop = new AbortController();
    const manager = new Manager({ store, view, clock, log: silentLog, random: this.#ids.random });
    this.#leader = { stop, done: manager.lead(fence, stop.signal).finally(() => store.resign(fence)) };
  }

  async depose(): Promise<void> {
    this.#leader?.stop.abort();
    await this.#leader?.done;
    this.#leader = undefined;
  }

  /** Lets `ms` pass, with all agents at work. */
  async run(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += TICK_MS) {
      await this.clock.advance(TICK_MS);
      await this.agents.tick();
    }
    await this.clock.advance(1);
  }

  async create(spec: ServiceSpec): Promise<string> {
    return (await this.control.createService(spec, undefined)).id;
  }

  async update(name: string, change: (spec: ServiceSpec) => ServiceSpec): Promise<void> {
    const { version, spec } = this.control.service(name);
    await this.control.updateService(name, version, change(spec), { rollback: false });
  }

  tasks(name: string): Task[] {
    const found = [...this.view.all('task').values()].filter((task) => task.serviceName === name);
    return found.sort((a, b) => a.slot - b.slot || olderFirst(a, b));
  }

  running(name: string): Task[] {
    return this.tasks(name).filter((t) => t.status.state === 'running' && t.desiredState === 'running');
  }

  on(node: string): number {
    return [...this.view.tasksOfNode(node as NodeId)].filter((task) => task.status.state === 'running')
      .length;
  }

  async stop(): Promise<void> {
    await this.depose();
    this.#abort.abort();
    await this.store.close();
    await this.clock.advance(10_000);
    await this.#following;
  }
}

/** One with these nodes, that ends with the test. */
export async function testCluster(t: TestContext, ...nodes: string[]): Promise<TestCluster> {
  const started = await new TestCluster().start(...nodes);
  t.after(() => started.stop());
  return started;
}
