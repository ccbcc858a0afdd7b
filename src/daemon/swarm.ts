/**
 * This node's membership in a cluster: init, join, leave, and being again what it was after a restart. Implements
 * `SwarmBackend` of api/.
 *
 * INVARIANT: `identity.json` says whether this node is a member. It is the last file written when the node becomes one
 * and the first removed when it leaves, so a daemon killed in between comes back as a member or as none, and what the
 * half-done way left behind is cleared before the next init or join.
 */
import { rmSync } from 'node:fs';
import { type Identity, IdentityFile, join, newRequest } from '../agent/identity.ts';
import type { LocalSwarmState, SwarmInitRequest, SwarmJoinRequest } from '../api/backend.ts';
import type { ContainerRuntime } from '../containerd/runtime.ts';
import { parseCidr } from '../kit/cidr.ts';
import type { Tell } from '../kit/event-log.ts';
import { issueNode, newEtcdRoot, newSwarmRoot } from '../manager/ca/authority.ts';
import { newNode } from '../manager/ca/issuer.ts';
import type { Control } from '../manager/control/control.ts';
import { initialObjects } from '../manager/control/initial-objects.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import { type ClusterId, type ContainerId, type NetworkId, newId, type NodeId } from '../model/ids.ts';
import type { ClusterCa, NodeDescription } from '../model/objects.ts';
import type { Availability } from '../model/spec.ts';
import type { KernelNetwork } from '../net/kernel-network.ts';
import { RpcClient } from '../rpc/client.ts';
import type { ExplainQuestion } from '../rpc/explain.ts';
import { newJoinToken } from '../rpc/join-token.ts';
import type { ManagerJoinAnswer } from '../rpc/methods.ts';
import type { LiveView } from '../store/view.ts';
import { chooseAdvertiseAddr, chooseDataPathAddr, chooseListenAddr, type LocalAddress } from './address.ts';
import type { ExplainAnswer } from '../trace/explain-question.ts';
import { AgentSide } from './agent-side.ts';
import type { Folders } from './folders.ts';
import { ManagerSide, type Origin } from './manager-side.ts';
import { type Membership, MembershipFile } from './membership-file.ts';
import type { Tools } from './tools.ts';

export interface SwarmOptions {
  readonly folders: Folders;
  readonly listenAddr: string;
  readonly hostname: string;
  readonly runtime: ContainerRuntime;
  /** Containers of a user's own are no business of the cluster. */
  readonly isStandalone: (id: ContainerId) => boolean;
  readonly keepUnusedImagesMs: number;
  readonly localAddresses: () => readonly LocalAddress[];
  readonly describe: (network: KernelNetwork, address: string) => Promise<NodeDescription>;
  /** This node serves the cluster's objects from now on. */
  readonly serving: (view: LiveView) => void;
  readonly tell: Tell;
  readonly tools: Tools;
}

/** A node in a cluster. */
interface Member {
  identity: Identity;
  readonly membership: Membership;
  readonly agent: AgentSide;
  readonly manager: ManagerSide | undefined;
  managerReady: boolean;
}

const ALREADY =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const NOT_A_MEMBER = 'This node is not part of a swarm';
const LEAVING_MANAGER =
  'You are attempting to leave the swarm on a node that is participating as a manager. ';
const LAST_MANAGER = 'Removing the last manager erases all current state of the swarm. ';
const USE_FORCE = 'Use `--force` to ignore this message. ';
const EXPIRY_MS = 90 * 24 * 3600_000;
const LEAVE_MS = 5000;
const RECOGNISED_MS = 20_000;
const NOT_YET =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. ' +
  'Use the "docker info" command to see the current swarm status of your node.';

export class Swarm {
  readonly #options: SwarmOptions;
  readonly #identityFile: IdentityFile;
  readonly #membershipFile: MembershipFile;
  #member: Member | undefined;
  #error = '';
  /** init, join and leave one after the other. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.#identityFile = new IdentityFile(options.folders.identity);
    this.#membershipFile = new MembershipFile(options.folders.membership);
  }

  get control(): Control | undefined {
    return this.#member?.managerReady ? this.#member.manager?.control : undefined;
  }

  explain(question: ExplainQuestion, signal: AbortSignal): Promise<ExplainAnswer> {
    const { manager } = this.#member ?? {};
    if (!manager) throw new SkeinError('unavailable', NOT_A_MEMBER);
    return manager.explain(question, signal);
  }

  get agent(): AgentSide | undefined {
    return this.#member?.agent;
  }

  get role(): Identity['role'] | undefined {
    return this.#member?.identity.role;
  }

  state(): LocalSwarmState {
    const member = this.#member;
    if (!member)
      return {
        state: this.#error ? 'error' : 'inactive',
        nodeId: undefined,
        nodeAddr: '',
        controlAvailable: false,
        error: this.#error,
        managers: [],
      };
    const heard = member.managerReady || member.agent.assignments.revision !== undefined;
    return {
      state: heard ? 'active' : 'pending',
      nodeId: member.identity.nodeId,
      nodeAddr: member.membership.advertiseAddr,
      controlAvailable: member.managerReady,
      error: this.#error,
      managers: member.agent.session.managers,
    };
  }

  /** At the start of the daemon: is again what it was. Serves before its managers can be reached. */
  async resume(): Promise<void> {
    const identity = this.#identityFile.read();
    const membership = this.#membershipFile.read();
    if (!identity || !membership) return;
    const member = await this.#open(identity, membership);
    member.agent.start();
    if (member.manager) void this.#resumeManager(member, member.manager);
  }

  init(request: SwarmInitRequest): Promise<NodeId> {
    return this.#exclusive(async () => {
      if (this.#member) throw new SkeinError('unavailable', ALREADY);
      checkInit(request);
      const membership = this.#place(request);
      const { identity, origin } = await this.#newCluster(request, membership);
      this.#clearLeftovers();
      this.#membershipFile.write(membership);
      const member = await this.#open(identity, membership);
      try {
        await member.manager!.start(origin);
      } catch (error) {
        await this.#abandon(member);
        throw error;
      }
      this.#identityFile.write(member.identity);
      this.#serve(member);
      member.agent.start();
      await this.#recognised(member);
      return identity.nodeId;
    });
  }

  join(request: SwarmJoinRequest): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#member) throw new SkeinError('unavailable', ALREADY);
      const membership = this.#place(request);
      const identity = await join({
        addrs: request.remoteAddrs,
        token: request.joinToken,
        availability: (request.availability || undefined) as Availability | undefined,
        clock: this.#options.tools.clock,
      });
      this.#clearLeftovers();
      this.#membershipFile.write(membership);
      this.#identityFile.write(identity);
      const member = await this.#open(identity, membership);
      member.agent.start();
      if (member.manager) await this.#joinAsManager(member, member.manager);
      await this.#recognised(member);
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#exclusive(async () => {
      const member = this.#member;
      if (!member) throw new SkeinError('unavailable', NOT_A_MEMBER);
      if (member.manager && !force) throw new SkeinError('unavailable', this.#whyNotLeave(member.manager));
      await this.#sayGoodbye(member);
      this.#identityFile.remove();
      await this.#abandon(member);
    });
  }

  /** The daemon ends: lets go of everything and stops nothing. */
  async close(): Promise<void> {
    await this.#queue.catch(() => {});
    await this.#member?.agent.stop();
    await this.#member?.manager?.close();
  }

  #serve(member: Member): void {
    member.managerReady = true;
    const { control } = member.manager!;
    if (control) this.#options.serving(control.view);
  }

  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(act);
    this.#queue = result.catch(() => {});
    return result;
  }

  #place(request: {
    readonly listenAddr: string;
    readonly advertiseAddr: string;
    readonly dataPathAddr: string;
  }): Membership {
    const local = this.#options.localAddresses();
    const listenAddr = chooseListenAddr(request.listenAddr, this.#options.listenAddr, local);
    const { address, port } = chooseAdvertiseAddr(request.advertiseAddr, listenAddr, local);
    const dataPathAddr = chooseDataPathAddr(request.dataPathAddr, address, local);
    return { listenAddr, advertiseAddr: address, port, dataPathAddr };
  }

  async #open(identity: Identity, membership: Membership): Promise<Member> {
    const { folders, tools } = this.#options;
    const current = () => this.#member?.identity ?? identity;
    const shared = { folders, membership, tools, identity: current };
    const adopt = (fresh: Identity) => this.#adopt(fresh);
    const agent = await AgentSide.open({ ...this.#options, ...shared, adopt });
    const manager = identity.role === 'manager' ? new ManagerSide(shared) : undefined;
    this.#member = { identity, membership, managerReady: false, manager, agent };
    return this.#member;
  }

  #adopt(fresh: Identity): void {
    const member = this.#member;
    if (!member) return;
    member.identity = fresh;
    this.#identityFile.write(fresh);
    member.manager?.renewed();
  }

  async #newCluster(
    request: SwarmInitRequest,
    membership: Membership,
  ): Promise<{ identity: Identity; origin: Origin }> {
    const { random, clock } = this.#options.tools;
    const deps = { now: () => clock.now(), random };
    const nodeId = newId<NodeId>(random);
    const clusterId = newId<ClusterId>(random);
    const [root, etcdRoot] = [await newSwarmRoot(deps), await newEtcdRoot(deps)];
    const ca: ClusterCa = {
      certificate: root.certificate,
      key: root.key,
      etcdCertificate: etcdRoot.certificate,
      etcdKey: etcdRoot.key,
    };
    const { key, csr } = await newRequest();
    const expiryMs = (request.spec.CAConfig?.NodeCertExpiry ?? 0) / 1e6 || EXPIRY_MS;
    const subject = { nodeId, clusterId, role: 'manager' as const };
    const certificate = await issueNode(root, csr, subject, expiryMs, deps);
    const manager = ManagerSide.request(nodeId, membership);
    const availability = (request.availability || 'active') as Availability;
    const node = {
      ...newNode(nodeId, 'manager', availability, membership.advertiseAddr, certificate),
      dataPathAddr: membership.dataPathAddr,
      manager,
    };
    const objects = initialObjects({
      clusterId,
      ingressId: newId<NetworkId>(random),
      spec: request.spec,
      addressPools: request.addressPools,
      subnetSize: request.subnetSize,
      dataPathPort: request.dataPathPort,
      joinTokens: {
        worker: newJoinToken(root.certificate, random),
        manager: newJoinToken(root.certificate, random),
      },
      ca,
      node,
    });
    const managers = [{ nodeId, addr: manager.addr }];
    const credentials = { key, certificate, ca: root.certificate };
    return {
      identity: { nodeId, clusterId, role: 'manager', credentials, managers },
      origin: { kind: 'init', ca, objects },
    };
  }

  async #joinAsManager(member: Member, manager: ManagerSide): Promise<void> {
    const { identity, membership } = member;
    let failure: unknown;
    for (const { addr } of identity.managers) {
      try {
        const answer = await this.#askToJoin(addr, identity, membership);
        await manager.start({ kind: 'join', answer });
        this.#serve(member);
        return;
      } catch (error) {
        failure = error;
        if (!isCode(error, 'unavailable')) break;
      }
    }
    throw failure;
  }

  async #askToJoin(addr: string, identity: Identity, membership: Membership): Promise<ManagerJoinAnswer> {
    const { credentials, clusterId, nodeId } = identity;
    const client = await RpcClient.connect({
      addr,
      trust: { kind: 'member', credentials, clusterId },
      clock: this.#options.tools.clock,
    });
    try {
      return await client.call('manager.join', ManagerSide.request(nodeId, membership));
    } finally {
      client.close();
    }
  }

  /** Whoever asked finds the node ready in the very next list. It goes on trying when we stop waiting. */
  async #recognised({ agent }: Member): Promise<void> {
    try {
      await agent.recognised(AbortSignal.timeout(RECOGNISED_MS));
    } catch (cause) {
      throw new SkeinError('unavailable', NOT_YET, { cause });
    }
  }

  /** A manager again; or, killed while it joined, a manager at last. */
  async #resumeManager(member: Member, manager: ManagerSide): Promise<void> {
    try {
      if (manager.hasData) {
        await manager.start({ kind: 'restart' });
        this.#serve(member);
      } else await this.#joinAsManager(member, manager);
    } catch (error) {
      this.#error = SkeinError.from(error).message;
      this.#options.tools.log.error('this node cannot be a manager again', { err: error });
    }
  }

  #whyNotLeave(manager: ManagerSide): string {
    const managers = [...manager.control.view.all('node').values()].filter((n) => n.manager);
    return `${LEAVING_MANAGER}${managers.length > 1 ? '' : LAST_MANAGER}${USE_FORCE}`;
  }

  async #sayGoodbye({ agent }: Member): Promise<void> {
    try {
      await agent.session.client?.call('node.leave', {}, { signal: AbortSignal.timeout(LEAVE_MS) });
    } catch (error) {
      this.#options.tools.log.warn('the managers could not be told that this node leaves', { err: error });
    }
  }

  /** Stops both halves and removes all that the membership made on this host. */
  async #abandon(member: Member): Promise<void> {
    const { folders, runtime, tools, isStandalone } = this.#options;
    await member.agent.stop();
    await member.manager?.close();
    await member.manager?.remove();
    await AgentSide.remove({ folders, membership: member.membership, runtime, tools, isStandalone });
    this.#member = undefined;
    this.#error = '';
    this.#clearLeftovers();
  }

  #clearLeftovers(): void {
    rmSync(this.#options.folders.cluster, { recursive: true, force: true });
  }
}

/** What can be refused before anything is made. */
function checkInit({
  addressPools,
  subnetSize,
  dataPathPort,
  forceNewCluster,
  spec,
  availability,
}: SwarmInitRequest) {
  const invalid = (message: string) => new SkeinError('invalid-argument', message);
  if (forceNewCluster) throw new SkeinError('unimplemented', 'skein does not serve --force-new-cluster yet');
  if (spec.EncryptionConfig?.AutoLockManagers)
    throw new SkeinError('unimplemented', 'skein does not serve --autolock yet');
  if (spec.TaskDefaults?.LogDriver?.Name)
    throw new SkeinError(
      'unimplemented',
      'skein does not serve TaskDefaults.LogDriver: give each service its --log-driver',
    );
  if (dataPathPort !== 0 && (dataPathPort < 1024 || dataPathPort > 49151))
    throw invalid('Datapath port number is not in valid range (between 1024 and 49151)');
  if (availability !== '' && !['active', 'pause', 'drain'].includes(availability))
    throw invalid(`invalid Availability: "${availability}"`);
  const size = subnetSize || 24;
  for (const pool of addressPools) {
    const length = Number(parseCidr(pool).split('/')[1]);
    if (size < length || size > 29)
      throw invalid(`invalid default subnet size ${size}: must be between ${length} (pool ${pool}) and 29`);
  }
}
