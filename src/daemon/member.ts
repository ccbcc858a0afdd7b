/**
 * A node in a cluster, from the day it joins to the day it leaves: who it is, its agent's half, and its manager's half
 * while it is a manager.
 */
import type { Identity } from '../agent/identity.ts';
import type { ContainerRuntime } from '../containerd/runtime.ts';
import type { Tell } from '../kit/event-log.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { NodeDescription } from '../model/objects.ts';
import type { KernelNetwork } from '../net/kernel-network.ts';
import { RpcClient } from '../rpc/client.ts';
import type { ManagerJoinAnswer } from '../rpc/methods.ts';
import type { LiveView } from '../store/view.ts';
import { AgentSide } from './agent-side.ts';
import type { Folders } from './folders.ts';
import { ManagerDisk } from './manager-disk.ts';
import { managerPlace } from './manager-place.ts';
import { ManagerSide } from './manager-side.ts';
import { leaveStore, type Origin } from './manager-store.ts';
import type { Membership } from './membership-file.ts';
import { RoleKeeper } from './role-keeper.ts';
import type { Tools } from './tools.ts';

export interface MemberOptions {
  readonly folders: Folders;
  readonly hostname: string;
  readonly runtime: ContainerRuntime;
  /** Containers of a user's own are no business of the cluster. */
  readonly isStandalone: (id: ContainerId) => boolean;
  readonly keepUnusedImagesMs: number;
  readonly describe: (network: KernelNetwork, address: string) => Promise<NodeDescription>;
  /** This node serves the cluster's objects from now on. */
  readonly serving: (view: LiveView) => void;
  readonly tell: Tell;
  readonly tools: Tools;
}

export class Member {
  readonly membership: Membership;
  readonly agent: AgentSide;
  readonly roles: RoleKeeper<ManagerSide>;
  readonly #options: MemberOptions;
  readonly #disk: ManagerDisk;
  readonly #keep: (identity: Identity) => void;
  #identity: Identity;

  /** `keep` writes a changed identity down (renewed, other managers, another role). */
  static async open(
    options: MemberOptions,
    identity: Identity,
    membership: Membership,
    keep: (identity: Identity) => void,
  ): Promise<Member> {
    let member: Member | undefined;
    const agent = await AgentSide.open({
      ...options,
      membership,
      identity: () => member?.identity ?? identity,
      adopt: (fresh) => member?.adopt(fresh),
    });
    return (member = new Member(options, identity, membership, agent, keep));
  }

  private constructor(
    options: MemberOptions,
    identity: Identity,
    membership: Membership,
    agent: AgentSide,
    keep: (identity: Identity) => void,
  ) {
    this.#options = options;
    this.#identity = identity;
    this.#keep = keep;
    this.membership = membership;
    this.agent = agent;
    const { folders, tools } = options;
    const disk = (this.#disk = new ManagerDisk({ folders, membership, nodeId: identity.nodeId, tools }));
    this.roles = new RoleKeeper<ManagerSide>({
      look: () => ({
        certified: this.identity.role,
        told: agent.assignments.role,
        traces: disk.present,
        expelled: disk.member.removed,
      }),
      onChange: (listener) => {
        let last = agent.assignments.role;
        return agent.assignments.onChange(() => {
          const { role } = agent.assignments;
          if (role !== last) listener();
          last = role;
        });
      },
      certify: async (signal) => void (await agent.certify(signal)),
      open: () =>
        new ManagerSide({
          ...{ disk, membership, tools },
          identity: () => this.identity,
          expelled: () => this.roles.look(),
        }),
      serve: (manager, signal) => this.#serve(manager, signal),
      clear: () => disk.clear(),
      clock: tools.clock,
      log: tools.log,
    });
  }

  get identity(): Identity {
    return this.#identity;
  }

  adopt(fresh: Identity): void {
    this.#identity = fresh;
    this.#keep(fresh);
    this.roles.half?.renewed();
    this.roles.look();
  }

  /** The first manager of a new cluster. */
  begin(origin: Origin): Promise<void> {
    return this.roles.begin((manager) => this.#start(manager, origin));
  }

  /** The quorum is lost for good: this manager goes on alone, with what its own store holds. */
  goOnAlone(signal: AbortSignal): Promise<void> {
    return this.roles.begin((manager) => this.#start(manager, { kind: 'alone' }, signal));
  }

  start(): void {
    this.agent.start();
    this.roles.start();
  }

  /** Lets go of everything and stops nothing. */
  async close(): Promise<void> {
    await this.agent.stop();
    await this.roles.stop();
    this.#disk.close();
  }

  /** Stops both halves and removes all that the membership made on this host. */
  async abandon(): Promise<void> {
    await this.agent.stop();
    await this.roles.stop();
    if (this.#disk.member.hasData) await leaveStore(this.#disk, this.#options.tools);
    await this.#disk.clear();
    this.#disk.close();
    await AgentSide.remove(this.#options);
  }

  /** A manager again, or at last: one that was killed while it joined asks to be let in again. */
  async #serve(manager: ManagerSide, signal: AbortSignal): Promise<void> {
    if (this.#disk.member.hasData) return this.#start(manager, { kind: 'restart' }, signal);
    await this.#start(manager, { kind: 'join', answer: await this.#letIn(signal) }, signal);
  }

  async #start(manager: ManagerSide, origin: Origin, signal?: AbortSignal): Promise<void> {
    await manager.start(origin, signal);
    this.#options.serving(manager.control.view);
  }

  /** Asks the managers in turn; a refusal in words ends it, an address that does not answer does not. */
  async #letIn(signal: AbortSignal): Promise<ManagerJoinAnswer> {
    const { managers, nodeId } = this.identity;
    let failure: unknown = new SkeinError('unavailable', 'no other manager is known');
    for (const manager of managers) {
      if (manager.nodeId === nodeId) continue;
      try {
        return await this.#askToJoin(manager.addr, signal);
      } catch (error) {
        failure = error;
        if (!isCode(error, 'unavailable')) break;
      }
    }
    throw failure;
  }

  async #askToJoin(addr: string, signal: AbortSignal): Promise<ManagerJoinAnswer> {
    const { credentials, clusterId, nodeId } = this.identity;
    const { clock } = this.#options.tools;
    const trust = { kind: 'member', credentials, clusterId } as const;
    const client = await RpcClient.connect({ addr, trust, clock, signal });
    try {
      return await client.call('manager.join', managerPlace(nodeId, this.membership), { signal });
    } finally {
      client.close();
    }
  }
}
