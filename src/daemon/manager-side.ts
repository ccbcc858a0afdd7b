/**
 * The manager's half of a node: its etcd member, the store over it, the view, the control listener and, while it
 * leads, the loops and the dispatcher. Wiring and nothing else; every decision lives in the parts.
 *
 * INVARIANT: the listener opens only once the view holds a first snapshot, so no caller is judged by an empty view.
 */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Identity } from '../agent/identity.ts';
import { issueEtcdPeer, type KeyAndCertificate } from '../manager/ca/authority.ts';
import { Issuer } from '../manager/ca/issuer.ts';
import { joinManager } from '../manager/ca/manager-join.ts';
import { Attachments } from '../manager/control/attachments.ts';
import { Control } from '../manager/control/control.ts';
import { Dispatcher } from '../manager/dispatcher/dispatcher.ts';
import { WalkBroker } from '../manager/explain/broker.ts';
import { LogBroker } from '../manager/logs/broker.ts';
import { Manager } from '../manager/manager.ts';
import { Tracer } from '../manager/trace/tracer.ts';
import { newSecretsKey, Sealer } from '../manager/secrets/sealer.ts';
import { sleep } from '../kit/clock.ts';
import { readHostClock } from '../kit/host-clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { NodeId } from '../model/ids.ts';
import type { ClusterCa } from '../model/objects.ts';
import { RpcClient } from '../rpc/client.ts';
import { newJoinToken } from '../rpc/join-token.ts';
import type { ExplainQuestion, WalkStart } from '../rpc/explain.ts';
import type { ManagerAddress } from '../rpc/messages.ts';
import type { ManagerJoinAnswer, ManagerJoinRequest, OutputOf, ParamsOf } from '../rpc/methods.ts';
import { RpcServer } from '../rpc/server.ts';
import { Cache } from '../store/cache.ts';
import { EtcdClient } from '../store/etcd/client.ts';
import { EtcdElection } from '../store/etcd/election.ts';
import { EtcdMember } from '../store/etcd/member.ts';
import { EtcdMembership } from '../store/etcd/membership.ts';
import { EtcdStore } from '../store/etcd/store.ts';
import type { Fence, Op } from '../store/store.ts';
import type { AskNode } from '../trace/explain.ts';
import { type ExplainAnswer, explainConnection } from '../trace/explain-question.ts';
import { splitHostPort } from './address.ts';
import { etcdPeerUrl } from './etcd-place.ts';
import type { Folders } from './folders.ts';
import type { Membership } from './membership-file.ts';
import type { Tools } from './tools.ts';

export interface ManagerSideOptions {
  readonly folders: Folders;
  readonly membership: Membership;
  readonly identity: () => Identity;
  readonly tools: Tools;
}

/** How a manager comes to its store. */
export type Origin =
  /** The first of a new cluster: `objects` are its first transaction. */
  | { readonly kind: 'init'; readonly ca: ClusterCa; readonly objects: readonly Op[] }
  /** Let in by another manager. */
  | { readonly kind: 'join'; readonly answer: ManagerJoinAnswer }
  /** It was one before. */
  | { readonly kind: 'restart' };

const LEARNER_CHECK_MS = 500;
const FIRST_SNAPSHOT = 1;

export class ManagerSide {
  readonly #options: ManagerSideOptions;
  readonly #stop = new AbortController();
  readonly #member: EtcdMember;
  readonly #client: EtcdClient;
  readonly #peers: EtcdMembership;
  readonly #store: EtcdStore;
  readonly #cache: Cache;
  readonly #election: EtcdElection;
  readonly #dispatcher: Dispatcher;
  readonly #broker: LogBroker;
  readonly #walks: WalkBroker;
  readonly #tracer: Tracer;
  readonly #server: RpcServer;
  readonly #sealer: Sealer;
  readonly control: Control;
  #leader: NodeId | undefined;
  #running: Promise<unknown>[] = [];

  constructor(options: ManagerSideOptions) {
    this.#options = options;
    const { folders, identity, tools } = options;
    const { clock, random } = tools;
    const log = tools.log.with({ part: 'manager' });
    const { nodeId, clusterId, credentials } = identity();
    this.#member = new EtcdMember({
      dir: folders.etcd,
      name: nodeId,
      peerUrl: this.#request().etcdPeerUrl,
      tls: folders.etcdTls,
      clock,
      log,
    });
    this.#client = new EtcdClient(this.#member.target);
    this.#peers = new EtcdMembership({ client: this.#client, clock, log });
    this.#store = new EtcdStore({ client: this.#client, clock, log });
    this.#cache = new Cache(log);
    this.#election = new EtcdElection({ client: this.#client, clock, log });
    const [store, view] = [this.#store, this.#cache];
    this.#sealer = new Sealer(random);
    this.#dispatcher = new Dispatcher({
      ...{ store, view, clock, log },
      openSecret: ({ id, sealed }) => this.#sealer.open(id, sealed).toString('base64'),
      leader: () => this.#leaderAddress(),
    });
    const streams = { view, clock, random, send: this.#dispatcher.send.bind(this.#dispatcher) };
    this.#broker = new LogBroker(streams);
    this.#tracer = new Tracer({
      ...streams,
      onSession: (listener) => this.#dispatcher.onSession(listener),
    });
    this.#walks = new WalkBroker(streams);
    const issuer = new Issuer({
      store,
      view,
      clock,
      random,
      log,
      managers: () => this.#dispatcher.managers(),
    });
    this.control = new Control({
      store,
      view,
      clock,
      random,
      sealer: this.#sealer,
      leader: () => this.#leader,
      newToken: (_role, cluster) => newJoinToken(cluster.ca.certificate, random),
      logs: (request, signal) =>
        this.#fromLeader('logs.read', { ...request, id: 'proxy' }, signal, () =>
          this.#broker.read(request, { tasks: () => request.tasks }, signal),
        ),
      trace: (query, signal) =>
        this.#fromLeader('trace.read', query, signal, () => this.#tracer.read(query, signal)),
    });
    const joining = {
      ...{ store, view },
      secretsKey: () => readFileSync(folders.secretsKey, 'utf8'),
      addMember: this.#addMember.bind(this),
    };
    const attachments = new Attachments({ store, view, clock, random });
    this.#server = new RpcServer({
      credentials,
      clusterId,
      clock,
      log,
      isMember: (id) => view.get('node', id) !== undefined,
      handlers: {
        'ca.root': () => issuer.root(),
        'ca.issue': (request, call) => issuer.issue(request, call),
        'manager.join': (request, call) => joinManager(joining, request, call),
        'network.attach': async (request, call) => ({
          taskId: await attachments.attach(call.peer!.nodeId, request, call.signal),
        }),
        'network.detach': async ({ taskId }, call) => {
          await attachments.detach(call.peer!.nodeId, taskId);
          return {};
        },
        'node.leave': async (_params, call) => {
          await this.#dispatcher.leave(call.peer!.nodeId);
          return {};
        },
        'cluster.managers': async () => ({ managers: [...this.#dispatcher.managers()] }),
        'dispatcher.session': (params, call) => this.#dispatcher.session(params, call),
        'logs.publish': (params, call) => this.#broker.publish(params, call),
        'logs.read': (request, call) =>
          this.#broker.read(request, { tasks: () => request.tasks }, call.signal),
        'explain.answer': (params, call) => this.#walks.answer(params, call),
        'explain.ask': ({ nodeId, starts }) => this.#walks.ask(nodeId, starts),
        'trace.clock': async () => {
          const { time, boot } = readHostClock();
          return { time: String(time), boot };
        },
        'trace.publish': (params, call) => this.#tracer.publish(params, call),
        'trace.read': (query, call) => this.#tracer.read(query, call.signal),
      },
    });
  }

  /** Resolves when this manager serves; without a quorum it waits for one. */
  async start(origin: Origin, signal?: AbortSignal): Promise<void> {
    const { clock, log } = this.#options.tools;
    await this.#startStore(origin);
    const stop = this.#stop.signal;
    this.#running = [
      this.#member.supervise(stop).then((end) => {
        if (end === 'removed') log.error('this manager was removed from the cluster; leave it with --force');
      }),
      this.#cache.follow(this.#store, { clock, signal: stop }),
      this.#observe(stop),
    ];
    await this.#cache.reached(FIRST_SNAPSHOT, signal);
    const { host, port } = splitHostPort(this.#options.membership.listenAddr);
    await this.#server.listen(host, port);
    this.#cache.onChange((transitions) => {
      for (const { kind, id, after } of transitions)
        if (kind === 'node' && after === undefined) this.#server.disconnect(id);
    });
    this.#running.push(this.#election.campaign(this.#nodeId, (fence, lost) => this.#lead(fence, lost), stop));
  }

  /** The way of a connection, walked without traffic by the nodes that it would pass. */
  explain(question: ExplainQuestion, signal: AbortSignal): Promise<ExplainAnswer> {
    const { control } = this;
    return explainConnection(question, control, (nodeId, starts) => this.#walk(nodeId, starts, signal));
  }

  /** What this manager tells an existing one when it joins. */
  static request(nodeId: NodeId, membership: Membership): ManagerJoinRequest {
    const { advertiseAddr, port } = membership;
    return {
      addr: `${advertiseAddr}:${port}`,
      etcdName: nodeId,
      etcdPeerUrl: etcdPeerUrl(membership),
    };
  }

  /** It has been a member of the store before. */
  get hasData(): boolean {
    return this.#member.hasData;
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
    await this.#store.close();
    this.#member.close();
    this.#client.close();
  }

  /** Leaves the store: the other members go on without this one, its data is removed. After `close`. */
  async remove(): Promise<void> {
    const { clock, log } = this.#options.tools;
    const client = new EtcdClient(this.#member.target);
    try {
      const peers = new EtcdMembership({ client, clock, log });
      const members = await peers.list().catch(() => []);
      const self = members.find((m) => m.peerUrl === this.#request().etcdPeerUrl);
      if (self && members.length > 1) await peers.remove(self.id, AbortSignal.timeout(15_000));
    } catch (error) {
      log.warn('the other managers could not be told; remove this node there with --force', { err: error });
    } finally {
      client.close();
    }
    await this.#member.wipe();
  }

  get #nodeId(): NodeId {
    return this.#options.identity().nodeId;
  }

  #request(): ManagerJoinRequest {
    return ManagerSide.request(this.#nodeId, this.#options.membership);
  }

  async #startStore(origin: Origin): Promise<void> {
    switch (origin.kind) {
      case 'init':
        await this.#writePeerTls({ certificate: origin.ca.etcdCertificate, key: origin.ca.etcdKey });
        this.#writeSecretsKey(newSecretsKey(this.#options.tools.random));
        await this.#member.startSingle();
        await this.#store.transact(origin.objects);
        return;
      case 'join':
        await this.#writePeerTls({ certificate: origin.answer.etcdCa, key: origin.answer.etcdKey });
        this.#writeSecretsKey(origin.answer.secretsKey);
        return this.#member.join(
          origin.answer.initialCluster.filter((m) => m.peerUrl !== this.#request().etcdPeerUrl),
        );
      case 'restart':
        this.#sealer.unlock(readFileSync(this.#options.folders.secretsKey, 'utf8'));
        return this.#member.start();
    }
  }

  async #writePeerTls(root: KeyAndCertificate): Promise<void> {
    const { folders, membership, tools } = this.#options;
    const { caFile, certFile, keyFile } = folders.etcdTls;
    const member = { name: this.#nodeId, addresses: [membership.advertiseAddr] };
    const deps = { now: () => tools.clock.now(), random: tools.random };
    const { key, certificate } = await issueEtcdPeer(root, member, deps);
    mkdirSync(folders.cluster, { recursive: true, mode: 0o700 });
    for (const [file, content] of [
      [caFile, root.certificate],
      [certFile, certificate],
      [keyFile, key],
    ] as const) {
      writeFileSync(file, content, { mode: 0o600 });
      chmodSync(file, 0o600);
    }
  }

  #writeSecretsKey(key: string): void {
    const { folders } = this.#options;
    mkdirSync(folders.cluster, { recursive: true, mode: 0o700 });
    writeFileSync(folders.secretsKey, key, { mode: 0o600, flush: true });
    this.#sealer.unlock(key);
  }

  async #lead(fence: Fence, lost: AbortSignal): Promise<void> {
    const { clock, log, random } = this.#options.tools;
    log.info('this manager leads');
    await this.#cache.reached(fence.createRevision, lost).catch(() => {});
    if (lost.aborted) return;
    const manager = new Manager({ store: this.#store, view: this.#cache, clock, log, random });
    await Promise.all([
      manager.lead(fence, lost),
      this.#dispatcher.lead(fence, lost),
      this.#promoteLearners(lost),
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

  /** Quick election timers go before a second member comes; the joiner starts when it has our answer. */
  async #addMember(
    member: { readonly name: string; readonly peerUrl: string },
    signal: AbortSignal,
  ): Promise<ManagerJoinAnswer['initialCluster']> {
    await this.#member.setTiming('peers');
    const added = await this.#peers.addLearner(member.peerUrl, signal);
    const members = await this.#peers.list();
    return members.map(({ id, name, peerUrl }) => ({ name: id === added.id ? member.name : name, peerUrl }));
  }

  /** A joined member gets its vote once it has caught up, whoever leads then: level-triggered, nothing to remember. */
  async #promoteLearners(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options.tools;
    while (!signal.aborted) {
      try {
        for (const { id, learner, name } of await this.#peers.list()) {
          if (!learner || name === '') continue; // not started yet
          await this.#peers.promote(id, signal);
          log.info('etcd member has a vote now', { 'node.id': name });
        }
      } catch (error) {
        if (!signal.aborted) log.debug('an etcd member cannot be given its vote yet', { err: error });
      }
      await sleep(clock, LEARNER_CHECK_MS, signal);
    }
  }

  /** The leader has the sessions; another manager asks it. */
  async *#fromLeader<N extends 'logs.read' | 'trace.read'>(
    name: N,
    params: ParamsOf<N>,
    signal: AbortSignal,
    own: () => AsyncIterable<OutputOf<N>>,
  ): AsyncGenerator<OutputOf<N>> {
    if (this.#dispatcher.leading) return yield* own();
    const client = await this.#dialLeader(signal);
    try {
      yield* client.stream(name, params, { signal });
    } finally {
      client.close();
    }
  }

  async #walk(nodeId: NodeId, starts: readonly WalkStart[], signal: AbortSignal): ReturnType<AskNode> {
    if (this.#dispatcher.leading) return this.#walks.ask(nodeId, starts);
    const client = await this.#dialLeader(signal);
    try {
      return await client.call('explain.ask', { nodeId, starts }, { signal });
    } finally {
      client.close();
    }
  }

  async #dialLeader(signal: AbortSignal): Promise<RpcClient> {
    const leader = this.#leaderAddress();
    if (!leader) throw new SkeinError('unavailable', 'the cluster has no leader at the moment; try again');
    const { credentials, clusterId } = this.#options.identity();
    return RpcClient.connect({
      addr: leader.addr,
      trust: { kind: 'member', credentials, clusterId },
      clock: this.#options.tools.clock,
      signal,
    });
  }
}
