/**
 * The manager's half of a node: its store, the view, the control listener and, while it leads, the loops and the
 * dispatcher. Wiring and nothing else; every decision lives in the parts. One is made each time the node becomes a
 * manager, or is one again after a restart.
 *
 * INVARIANT: the listener opens only once the view holds a first snapshot, so no caller is judged by an empty view.
 */
import type { Identity } from '../agent/identity.ts';
import { Issuer } from '../manager/ca/issuer.ts';
import { Attachments } from '../manager/control/attachments.ts';
import { Control } from '../manager/control/control.ts';
import { Dispatcher } from '../manager/dispatcher/dispatcher.ts';
import { WalkBroker } from '../manager/explain/broker.ts';
import { LogBroker } from '../manager/logs/broker.ts';
import { Manager } from '../manager/manager.ts';
import { keepRoles } from '../manager/roles/loop.ts';
import { memberRole, roleOf } from '../manager/roles/role.ts';
import { Tracer, untilLeaderChanges } from '../manager/trace/tracer.ts';
import { sleep } from '../kit/clock.ts';
import type { NodeId } from '../model/ids.ts';
import { newJoinToken } from '../rpc/join-token.ts';
import type { ExplainQuestion } from '../rpc/explain.ts';
import type { ManagerAddress } from '../rpc/messages.ts';
import { RpcServer } from '../rpc/server.ts';
import { Cache } from '../store/cache.ts';
import { EtcdElection } from '../store/etcd/election.ts';
import type { Fence } from '../store/store.ts';
import type { Transition } from '../store/view.ts';
import { type ExplainAnswer, explainConnection } from '../trace/explain-question.ts';
import { splitHostPort } from './address.ts';
import { LeaderCalls } from './leader-calls.ts';
import type { ManagerDisk } from './manager-disk.ts';
import { managerDoors } from './manager-doors.ts';
import { ManagerStore, type Origin } from './manager-store.ts';
import type { Membership } from './membership-file.ts';
import type { Tools } from './tools.ts';

export interface ManagerSideOptions {
  readonly disk: ManagerDisk;
  readonly membership: Membership;
  readonly identity: () => Identity;
  /** The other managers have removed this one from the store. */
  readonly expelled: () => void;
  readonly tools: Tools;
}

const FIRST_SNAPSHOT = 1;
/** A leader that makes room leaves the others this long to lead; if none can, it leads on. */
const HAND_OVER_MS = 10_000;

export class ManagerSide {
  readonly #options: ManagerSideOptions;
  readonly #stop = new AbortController();
  readonly #part: ManagerStore;
  readonly #cache: Cache;
  readonly #election: EtcdElection;
  readonly #dispatcher: Dispatcher;
  readonly #tracer: Tracer;
  readonly #walks: WalkBroker;
  readonly #leaderCalls: LeaderCalls;
  readonly #server: RpcServer;
  readonly control: Control;
  #leader: NodeId | undefined;
  #running: Promise<unknown>[] = [];

  constructor(options: ManagerSideOptions) {
    this.#options = options;
    const { disk, identity } = options;
    const tools = { ...options.tools, log: options.tools.log.with({ part: 'manager' }) };
    const { clock, random, log } = tools;
    const { clusterId, credentials } = identity();
    const part = (this.#part = new ManagerStore(disk, tools));
    const view = (this.#cache = new Cache(log));
    const { store, client, sealer } = part;
    this.#election = new EtcdElection({ client, clock, log });
    const dispatcher = (this.#dispatcher = new Dispatcher({
      ...{ store, view, clock, log },
      openSecret: ({ id, sealed }) => sealer.open(id, sealed).toString('base64'),
      leader: () => this.#leaderAddress(),
    }));
    const calls = (this.#leaderCalls = new LeaderCalls({
      ...{ clock, identity },
      leading: () => dispatcher.leading,
      leader: () => this.#leaderAddress(),
    }));
    const streams = { view, clock, random, send: dispatcher.send.bind(dispatcher) };
    const logs = new LogBroker(streams);
    const tracer = (this.#tracer = new Tracer({
      ...streams,
      onSession: (listener) => dispatcher.onSession(listener),
    }));
    const walks = (this.#walks = new WalkBroker(streams));
    this.control = new Control({
      ...{ store, view, clock, random, sealer },
      leader: () => this.#leader,
      newToken: (_role, cluster) => newJoinToken(cluster.ca.certificate, random),
      logs: (request, signal) =>
        calls.stream('logs.read', { ...request, id: 'proxy' }, signal, () => logs.read(request, signal)),
      trace: (query, signal) =>
        untilLeaderChanges(
          calls.stream('trace.read', query, signal, () => tracer.read(query, signal)),
          signal,
        ),
    });
    const handlers = managerDoors({
      issuer: new Issuer({ ...{ store, view, clock, random, log }, managers: () => dispatcher.managers() }),
      joining: {
        ...{ store, view },
        secretsKey: () => disk.secretsKey(),
        addMember: part.addMember.bind(part),
      },
      attachments: new Attachments({ store, view, clock, random }),
      ...{ dispatcher, logs, walks, tracer },
    });
    this.#server = new RpcServer({
      ...{ credentials, clusterId, clock, log, handlers },
      roleOf: (id) => memberRole(id, view, store),
    });
  }

  /** Resolves when this manager serves; without a quorum it waits for one, unless the signal aborts. */
  async start(origin: Origin, signal?: AbortSignal): Promise<void> {
    const { membership, tools, disk, expelled } = this.#options;
    await this.#part.open(origin);
    const stop = this.#stop.signal;
    this.#running = [
      disk.member.supervise(stop).then((end) => end === 'removed' && expelled()),
      this.#cache.follow(this.#part.store, { clock: tools.clock, signal: stop }),
      this.#observe(stop),
    ];
    await this.#cache.reached(FIRST_SNAPSHOT, signal);
    const { host, port } = splitHostPort(membership.listenAddr);
    await this.#server.listen(host, port);
    this.#cache.onChange((transitions) => {
      for (const id of transitions.flatMap(losesDoors)) this.#server.disconnect(id);
    });
    this.#running.push(this.#campaign(stop));
  }

  /** The way of a connection, walked without traffic by the nodes that it would pass. */
  explain(question: ExplainQuestion, signal: AbortSignal): Promise<ExplainAnswer> {
    return explainConnection(question, this.control, (nodeId, starts) =>
      this.#leaderCalls.call('explain.ask', { nodeId, starts }, signal, () =>
        this.#walks.ask(nodeId, starts),
      ),
    );
  }

  /** New connections use the identity as it is now. */
  renewed(): void {
    this.#server.setCredentials(this.#options.identity().credentials);
  }

  /** Lets go; etcd runs on. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#server.close().catch(() => {}); // it may not have listened yet
    await Promise.allSettled(this.#running);
    await this.#part.close();
  }

  /** Leads whenever it can; after it made room for another, not at once again. */
  async #campaign(stop: AbortSignal): Promise<void> {
    const { clock } = this.#options.tools;
    const { nodeId } = this.#options.identity();
    while (!stop.aborted) {
      const room = new AbortController();
      await this.#election.campaign(
        nodeId,
        (fence, lost) => this.#lead(fence, lost, () => room.abort()),
        AbortSignal.any([stop, room.signal]),
      );
      await sleep(clock, HAND_OVER_MS, stop);
    }
  }

  async #lead(fence: Fence, lost: AbortSignal, resign: () => void): Promise<void> {
    const { clock, log, random } = this.#options.tools;
    const { store, peers } = this.#part;
    const view = this.#cache;
    log.info('this manager leads');
    await view.reached(fence.createRevision, lost).catch(() => {});
    if (lost.aborted) return;
    this.#tracer.lead(lost); // before the sessions are let go
    const manager = new Manager({ store, view, clock, log, random });
    const self = this.#options.identity().nodeId;
    await Promise.all([
      manager.lead(fence, lost),
      this.#dispatcher.lead(fence, lost),
      keepRoles({ self, store, view, peers, clock, log, fence, resign }, lost),
    ]);
    log.info('this manager leads no more');
  }

  async #observe(signal: AbortSignal): Promise<void> {
    for await (const leader of this.#election.observe(signal)) this.#leader = leader as NodeId | undefined;
  }

  #leaderAddress(): ManagerAddress | undefined {
    const manager = this.#leader && this.#cache.get('node', this.#leader)?.manager;
    return manager ? { nodeId: this.#leader!, addr: manager.addr } : undefined;
  }
}

/** A node that was removed, or is a manager no more: what it had opened as such is closed. */
function losesDoors({ kind, before, after }: Transition): NodeId[] {
  if (kind !== 'node' || !before) return [];
  return !after || (roleOf(before) === 'manager' && roleOf(after) === 'worker') ? [before.id] : [];
}
