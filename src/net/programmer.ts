/**
 * Takes a node's kernel from what it holds to what it is to hold, and remembers what that is. No call of it waits for
 * anything: what it does is whole when it returns.
 *
 * INVARIANTS
 * - Decisions are pure (`plan.ts`, `diff-plan.ts`, `delta-plan.ts`); what is done is the difference between them and the
 *   kernel.
 * - The first program, and the one after `forget`, reads the kernel back. In between the last plan stands for the kernel
 *   (`known`), so a change of one endpoint costs a comparison in memory and one message.
 * - What throws may have done a part: `forget` before the next.
 */
import type { Log } from '../kit/log.ts';
import { isCode } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import { auditPieces } from './audit.ts';
import { type DeltaPlan, planDelta } from './delta-plan.ts';
import { diff, type Step, type StepKind } from './diff-plan.ts';
import { execute, type Executors, makeExecutors, runs } from './executors.ts';
import { dropSandbox, emptyState, mergeSandbox, onlyOf } from './known-state.ts';
import { observe } from './observe.ts';
import type { Places } from './places.ts';
import { type Desired, type Facts, planNode, planOne, type SandboxRecord } from './plan.ts';
import { hostPortKey } from './nft-state.ts';
import { bindPort, PortHolder } from './port-holder.ts';
import { bindError } from './sandbox-plan.ts';
import type { Place } from './state.ts';
import { Transactions } from './transactions.ts';

/** What was changed: steps by kind. */
export interface ApplyReport {
  /** The kernel was read back, not taken from memory. */
  readonly readBack: boolean;
  readonly steps: Partial<Record<StepKind, number>>;
  readonly total: number;
}

export interface ProgrammerOptions {
  readonly places: Places;
  readonly log: Log;
  /** TCP backends that no frontend of the place leads to any more. */
  readonly backendsLeft: (place: Place, backends: ReadonlySet<string>) => void;
}

/** The sandboxes of the node. */
export interface Sandboxes {
  readonly records: readonly SandboxRecord[];
  /** Removed, but their links may still be on their way out. */
  readonly leaving: ReadonlySet<ContainerId>;
}

export class Programmer {
  readonly #options: ProgrammerOptions;
  readonly #executors: Executors;
  readonly #holder = new PortHolder(bindPort);
  readonly #transactions: Transactions;
  #known: Desired | undefined;
  /** The view that `#known` follows; undefined: none, though what is known is true. */
  #knownView: NetworkView | undefined;

  constructor(options: ProgrammerOptions) {
    this.#options = options;
    this.#executors = makeExecutors(options.places);
    this.#transactions = new Transactions(() => options.places.withFilter('root', (socket) => socket));
  }

  /** What stands for the kernel; undefined: it must be read back. */
  get known(): Desired | undefined {
    return this.#known;
  }

  /** Published ports that are not held on this node, and why. */
  get notHeld(): ReadonlyMap<string, string> {
    return this.#holder.notHeld;
  }

  forget(): void {
    this.#known = this.#knownView = undefined;
    this.#transactions.forget();
  }

  /** Looks at one piece of the kernel a step: whether it is what is known, and that what is `planned` (audit.ts). */
  pieces(planned: () => Desired): Generator<boolean, void> {
    const { places } = this.#options;
    const transactions = this.#transactions;
    return auditPieces({ places, known: () => this.#known, planned, transactions });
  }

  /** The next program compares everything, not what changed of the view alone. */
  compareAll(): void {
    this.#knownView = undefined;
  }

  close(): void {
    this.#holder.close();
  }

  program(view: NetworkView, facts: Facts, sandboxes: Sandboxes): ApplyReport {
    const readBack = this.#known === undefined;
    const { steps, ports, settle } =
      this.#delta(view, facts, sandboxes.records) ?? this.#whole(view, facts, sandboxes);
    this.run(steps);
    settle();
    if (ports) this.holdPorts();
    this.#knownView = view;
    return { readBack, ...countSteps(steps) };
  }

  /** Makes or completes one sandbox, without looking at anything else. */
  make(record: SandboxRecord, view: NetworkView, facts: Facts, { isEmpty }: { isEmpty: boolean }): void {
    const { places } = this.#options;
    const { id } = record.spec;
    const wanted = planOne(record, view, facts);
    const observed =
      !isEmpty && places.exists(id)
        ? onlyOf(observe(places, ['root', 'fabric', id], wanted.sysctls.values(), [id]), wanted, id)
        : emptyState(['root', 'fabric', ...(isEmpty ? [id] : [])]);
    try {
      this.run(diff(wanted, observed));
      if (this.#known) mergeSandbox(this.#known, wanted);
    } catch (error) {
      this.forget();
      throw error;
    } finally {
      places.forget(id);
    }
  }

  /** The sandbox's namespace was removed, and what stood in it with it. */
  drop(id: ContainerId): void {
    if (this.#known) dropSandbox(this.#known, id);
  }

  run(steps: readonly Step[]): void {
    for (const run of runs(steps)) {
      const [{ kind, place }] = run;
      const take = () => execute(this.#executors, kind, run, place);
      if (place === 'root' && isTransaction(kind)) this.#transactions.own(run.length, take);
      else take();
    }
    for (const step of steps)
      if (step.kind === 'nft.frontends') this.#options.backendsLeft(step.place, step.changes.goneTcp);
  }

  /**
   * Holds the host ports of a new sandbox; gives one that was chosen here and that another program has, for another to be
   * chosen. A user's own container is not to be made where one that it asks for can not be held.
   */
  takePorts(record: SandboxRecord): string | undefined {
    const { hostPorts, spec } = record;
    for (const [n, port] of hostPorts.entries()) {
      const key = hostPortKey(port);
      try {
        this.#options.places.inside('root', () => this.#holder.take(key));
      } catch (error) {
        const chosenHere = !spec.hostPorts[n]!.PublishedPort;
        if (chosenHere && isCode(error, 'already-exists')) return key;
        if (spec.serviceId) continue; // named when the ports of all are held
        this.holdPorts(); // lets go of those before it
        throw bindError(port, record, error);
      }
    }
    return undefined;
  }

  /** Holds the published ports that are known, those too that somebody else had and has let go. */
  holdPorts(): void {
    const { places, log } = this.#options;
    const table = this.#known?.tables.get('root');
    if (!table) return;
    const ports = new Set([...table.frontends.keys(), ...table.bound.keys()]);
    const fresh = places.inside('root', () => this.#holder.hold(ports));
    if (fresh.length > 0)
      log.warn('published ports are not held on this node: connections go to the mesh', {
        'net.ports': fresh.map((port) => `${port}: ${this.#holder.notHeld.get(port)}`),
      });
  }

  /** Only endpoints and services changed: the common case, and the one that must be quick. */
  #delta(view: NetworkView, facts: Facts, records: readonly SandboxRecord[]): DeltaPlan | undefined {
    if (!this.#known || !this.#knownView) return undefined;
    // A host port may step aside for a published one and come back: the whole plan knows which.
    if (records.some((r) => r.hostPorts.length > 0)) return undefined;
    const alive = records.filter((r) => this.#known!.netns.has(r.spec.id));
    return planDelta(this.#knownView, view, this.#known, facts, alive);
  }

  #whole(view: NetworkView, facts: Facts, { records, leaving }: Sandboxes): DeltaPlan {
    const { places } = this.#options;
    // A sandbox whose namespace is gone has no container either (reboot): the agent detaches it.
    const alive = records.filter((r) => places.exists(r.spec.id));
    const desired = planNode(view, alive, facts);
    const steps = diff(desired, this.#known ?? this.#observe(desired, alive, leaving));
    const settle = () => {
      for (const { spec } of alive) places.forget(spec.id);
      this.#known = desired;
    };
    return { steps, ports: true, settle };
  }

  #observe(desired: Desired, alive: readonly SandboxRecord[], leaving: ReadonlySet<ContainerId>) {
    const where = ['root', 'fabric', ...alive.map((r) => r.spec.id)] as const;
    const observed = observe(this.#options.places, where, desired.sysctls.values(), where);
    for (const id of leaving) dropSandbox(observed, id);
    return observed;
  }
}

const isTransaction = (kind: StepKind): boolean => kind === 'nft.base' || kind === 'nft.frontends';

function countSteps(steps: readonly Step[]): Pick<ApplyReport, 'steps' | 'total'> {
  const counts: Partial<Record<StepKind, number>> = {};
  for (const { kind } of steps) counts[kind] = (counts[kind] ?? 0) + 1;
  return { steps: counts, total: steps.length };
}
