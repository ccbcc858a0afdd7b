/**
 * A small cluster in memory behind the API: for tests of the API, and of clients. Every task runs at once, on the
 * nodes in turn; nothing fails unless a test says so. Not a stand-in for the manager: specs are hardly checked.
 */
import { FakeRuntime } from '../containerd/fake.ts';
import { type Clock, timestamp } from '../kit/clock.ts';
import { EventLog } from '../kit/event-log.ts';
import { SkeinError } from '../model/errors.ts';
import type { NodeId } from '../model/ids.ts';
import type { NodeRole } from '../model/spec.ts';
import { Cache } from '../store/cache.ts';
import type { Backends, ClusterBackend, LocalSwarmState, SwarmBackend, SwarmInitRequest } from './backend.ts';
import { ExecInstances } from './exec-instances.ts';
import { followCluster } from './events.ts';
import { FakeCluster } from './fake-cluster.ts';
import { FakeEngine } from './fake-engine.ts';

export class FakeBackends implements Backends, SwarmBackend {
  readonly view = new Cache();
  readonly runtime: FakeRuntime;
  readonly swarm: SwarmBackend = this;
  readonly engine: FakeEngine;
  readonly execs: ExecInstances;
  readonly events: EventLog;
  readonly #clock: Clock;
  readonly control: FakeCluster;
  /** What this node is. */
  membership: 'inactive' | 'worker' | 'manager' = 'inactive';

  constructor(clock: Clock) {
    this.#clock = clock;
    this.events = new EventLog(clock);
    followCluster(this.view, this.events.tell);
    this.runtime = new FakeRuntime({ clock });
    this.control = new FakeCluster(clock, this.view, this.runtime);
    this.engine = new FakeEngine(this.runtime, this.control);
    let execs = 0;
    this.execs = new ExecInstances(
      this.engine,
      () => (++execs).toString(16).padStart(64, 'e'),
      this.events.tell,
    );
  }

  cluster(): ClusterBackend | undefined {
    return this.membership === 'manager' ? this.control : undefined;
  }

  /** Nothing is known of networks here. */
  async explain(): Promise<object> {
    return { paths: [], passedOver: [], names: { addresses: {}, macs: {} } };
  }

  readonly role = (): NodeRole | undefined => (this.membership === 'inactive' ? undefined : this.membership);

  state(): LocalSwarmState {
    const active = this.membership !== 'inactive';
    const nodeId = this.control.selfId;
    return {
      state: active ? 'active' : 'inactive',
      nodeId: active ? nodeId : undefined,
      nodeAddr: active ? '192.0.2.1' : '',
      controlAvailable: this.membership === 'manager',
      error: '',
      managers: active ? [{ nodeId, addr: '192.0.2.1:2377' }] : [],
    };
  }

  async init(request: SwarmInitRequest): Promise<NodeId> {
    if (this.membership !== 'inactive')
      throw new SkeinError(
        'unavailable',
        'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
      );
    this.control.found(request.spec);
    this.membership = 'manager';
    return this.control.selfId;
  }

  async join(): Promise<void> {
    this.membership = 'worker';
  }

  async leave(force: boolean): Promise<void> {
    if (this.membership === 'manager' && !force)
      throw new SkeinError(
        'unavailable',
        'You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message. ',
      );
    this.membership = 'inactive';
  }

  /** Now, for tests that compare. */
  now(): string {
    return timestamp(this.#clock.now());
  }
}
