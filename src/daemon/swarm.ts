/**
 * This node's membership in a cluster: init, join, leave, and being again what it was after a restart. Implements
 * `SwarmBackend` of api/.
 *
 * INVARIANT: `identity.json` says whether this node is a member. It is the last file written when the node becomes one
 * and the first removed when it leaves, so a daemon killed in between comes back as a member or as none, and what the
 * half-done way left behind is cleared before the next init or join.
 */
import { rmSync } from 'node:fs';
import { type Identity, identityFile, join } from '../agent/identity.ts';
import type { LocalSwarmState, SwarmInitRequest, SwarmJoinRequest } from '../api/backend.ts';
import type { Control } from '../manager/control/control.ts';
import type { JsonFile } from '../kit/json-file.ts';
import { SkeinError } from '../model/errors.ts';
import type { Ipv4, NodeId } from '../model/ids.ts';
import type { Availability } from '../model/spec.ts';
import type { ExplainQuestion } from '../rpc/explain.ts';
import type { ExplainAnswer } from '../trace/explain-question.ts';
import { chooseAdvertiseAddr, chooseDataPathAddr, chooseListenAddr, type LocalAddress } from './address.ts';
import type { AgentSide } from './agent-side.ts';
import { ManagerDisk } from './manager-disk.ts';
import type { ManagerSide } from './manager-side.ts';
import { Member, type MemberOptions } from './member.ts';
import { type Membership, membershipFile } from './membership-file.ts';
import { checkInit, newCluster } from './new-cluster.ts';

export interface SwarmOptions extends MemberOptions {
  readonly listenAddr: string;
  readonly localAddresses: () => readonly LocalAddress[];
  readonly addressTowards: (hosts: readonly string[]) => Promise<Ipv4 | undefined>;
}

const ALREADY =
  'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.';
const NOT_A_MEMBER = 'This node is not part of a swarm';
const NOT_A_MANAGER = 'This node is not a swarm manager, only a manager can go on alone.';
const LEAVING_MANAGER =
  'You are attempting to leave the swarm on a node that is participating as a manager. ';
const LAST_MANAGER = 'Removing the last manager erases all current state of the swarm. ';
const USE_FORCE = 'Use `--force` to ignore this message. ';
const LEAVE_MS = 5000;
const RECOGNISED_MS = 20_000;
const NOT_YET =
  'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. ' +
  'Use the "docker info" command to see the current swarm status of your node.';

export class Swarm {
  readonly #options: SwarmOptions;
  readonly #identityFile: JsonFile<Identity>;
  readonly #membershipFile: JsonFile<Membership>;
  readonly #closing = new AbortController();
  #member: Member | undefined;
  /** init, join and leave one after the other. */
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: SwarmOptions) {
    this.#options = options;
    this.#identityFile = identityFile(options.folders.identity);
    this.#membershipFile = membershipFile(options.folders.membership);
  }

  get control(): Control | undefined {
    return this.#member?.roles.manager?.control;
  }

  explain(question: ExplainQuestion, signal: AbortSignal): Promise<ExplainAnswer> {
    const manager = this.#member?.roles.manager;
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
        state: 'inactive',
        nodeId: undefined,
        nodeAddr: '',
        controlAvailable: false,
        error: '',
        managers: [],
      };
    const serves = member.roles.manager !== undefined;
    return {
      state: serves || member.agent.assignments.revision !== undefined ? 'active' : 'pending',
      nodeId: member.identity.nodeId,
      nodeAddr: member.membership.advertiseAddr,
      controlAvailable: serves,
      error: member.roles.error,
      managers: member.agent.session.managers,
    };
  }

  /** At the start of the daemon: is again what it was. Serves before its managers can be reached. */
  async resume(): Promise<void> {
    const identity = this.#identityFile.read();
    const membership = this.#membershipFile.read();
    if (!identity || !membership) return;
    const member = await this.#open(identity, membership);
    member.start();
  }

  init(request: SwarmInitRequest): Promise<NodeId> {
    return this.#exclusive(async () => {
      if (this.#member && request.forceNewCluster) return this.#goOnAlone(this.#member);
      if (this.#member) throw new SkeinError('unavailable', ALREADY);
      checkInit(request);
      const membership = this.#place(request);
      const { identity, origin } = await newCluster(request, membership, this.#options.tools);
      const member = await this.#fresh(identity, membership);
      try {
        await member.begin(origin);
      } catch (error) {
        await this.#abandon(member);
        throw error;
      }
      this.#identityFile.write(member.identity);
      member.start();
      await this.#recognised(member);
      return identity.nodeId;
    });
  }

  /** Of a manager whose cluster has lost its quorum for good. */
  async #goOnAlone(member: Member): Promise<NodeId> {
    if (!member.roles.half) throw new SkeinError('unavailable', NOT_A_MANAGER);
    await member.goOnAlone(this.#closing.signal);
    await this.#recognised(member);
    return member.identity.nodeId;
  }

  join(request: SwarmJoinRequest): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#member) throw new SkeinError('unavailable', ALREADY);
      const membership = this.#place(request, await this.#options.addressTowards(request.remoteAddrs));
      const identity = await join({
        addrs: request.remoteAddrs,
        token: request.joinToken,
        availability: (request.availability || undefined) as Availability | undefined,
        clock: this.#options.tools.clock,
        signal: this.#closing.signal,
      });
      const member = await this.#fresh(identity, membership);
      this.#identityFile.write(identity);
      member.start();
      await member.roles.settled(this.#closing.signal);
      await this.#recognised(member);
    });
  }

  leave(force: boolean): Promise<void> {
    return this.#exclusive(async () => {
      const member = this.#member;
      if (!member) throw new SkeinError('unavailable', NOT_A_MEMBER);
      if (member.identity.role === 'manager' && !force)
        throw new SkeinError('unavailable', whyNotLeave(member.roles.half));
      await this.#sayGoodbye(member);
      this.#identityFile.remove();
      await this.#abandon(member);
    });
  }

  /** The daemon ends: lets go of everything and stops nothing. Who waits for a join is not waited for: it goes on by itself. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#queue.catch(() => {});
    await this.#member?.close();
  }

  #exclusive<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(act);
    this.#queue = result.catch(() => {});
    return result;
  }

  #place(
    request: Pick<SwarmJoinRequest, 'listenAddr' | 'advertiseAddr' | 'dataPathAddr'>,
    towards?: Ipv4,
  ): Membership {
    const local = this.#options.localAddresses();
    const listenAddr = chooseListenAddr(request.listenAddr, this.#options.listenAddr, local);
    const { address, port } = chooseAdvertiseAddr(request.advertiseAddr, listenAddr, local, towards);
    const dataPathAddr = chooseDataPathAddr(request.dataPathAddr, address, local);
    return { listenAddr, advertiseAddr: address, port, dataPathAddr };
  }

  /** A membership that is new: what an earlier one left half-done is cleared. */
  async #fresh(identity: Identity, membership: Membership): Promise<Member> {
    const { folders, tools } = this.#options;
    const leftover = new ManagerDisk({ folders, membership, nodeId: identity.nodeId, tools });
    await leftover.clear().finally(() => leftover.close());
    this.#clearLeftovers();
    this.#membershipFile.write(membership);
    return this.#open(identity, membership);
  }

  async #open(identity: Identity, membership: Membership): Promise<Member> {
    const keep = (fresh: Identity) => this.#identityFile.write(fresh);
    return (this.#member = await Member.open(this.#options, identity, membership, keep));
  }

  /** Whoever asked finds the node ready in the very next list. It goes on trying when we stop waiting. */
  async #recognised({ agent }: Member): Promise<void> {
    try {
      await agent.recognised(AbortSignal.any([this.#closing.signal, AbortSignal.timeout(RECOGNISED_MS)]));
    } catch (cause) {
      throw new SkeinError('unavailable', NOT_YET, { cause });
    }
  }

  async #sayGoodbye({ agent }: Member): Promise<void> {
    try {
      await agent.session.client?.call('node.leave', {}, { signal: AbortSignal.timeout(LEAVE_MS) });
    } catch (error) {
      this.#options.tools.log.warn('the managers could not be told that this node leaves', { err: error });
    }
  }

  async #abandon(member: Member): Promise<void> {
    await member.abandon();
    this.#member = undefined;
    this.#clearLeftovers();
  }

  #clearLeftovers(): void {
    rmSync(this.#options.folders.cluster, { recursive: true, force: true });
  }
}

function whyNotLeave(manager: ManagerSide | undefined): string {
  const managers = [...(manager?.control.view.all('node').values() ?? [])].filter((n) => n.manager);
  return `${LEAVING_MANAGER}${managers.length === 1 ? LAST_MANAGER : ''}${USE_FORCE}`;
}
