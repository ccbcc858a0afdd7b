/**
 * Keeps the kernel's network at the manager's latest view, and says so: `applied` is what the manager's drains wait
 * for, so it is said only after the kernel agrees. Views that come while one is applied are merged into the last of
 * them.
 */
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop } from '../kit/loop.ts';
import type { NodeId } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { NodeNetwork } from '../net/network.ts';
import { type AuditStatus, NO_AUDITS } from '../net/network-status.ts';
import { steer, type Steered } from '../net/steering-plan.ts';
import type { TaskItem } from '../rpc/messages.ts';

/** Reads the kernel back and repairs what somebody else changed. */
export interface AuditedNetwork extends NodeNetwork {
  audit?(): Promise<AuditReport>;
  /** Published ports that are not held on this node, and why. */
  readonly notHeld?: ReadonlyMap<string, string>;
}

/** What was repaired: steps by kind. */
export interface AuditReport {
  readonly steps: Readonly<Record<string, number>>;
  readonly total: number;
}

export interface NetworkLoopOptions {
  readonly network: AuditedNetwork;
  readonly view: () => NetworkView | undefined;
  readonly applied: (revision: number) => void;
  /** Peers whose endpoints are out of rotation in this node's eyes, whatever the managers say. */
  readonly away?: () => ReadonlySet<NodeId>;
  /** What earlier audits counted, and where to keep it. */
  readonly audits?: { readonly status: AuditStatus; save(status: AuditStatus): void };
  /** Other published ports than before are not held. */
  readonly saveNotHeld?: (ports: Readonly<Record<string, string>>) => void;
  readonly random: () => number;
  readonly clock: Clock;
  readonly log: Log;
  readonly auditMs?: number;
}

/** What was deleted is to be back within ten seconds: the audit itself may take one of them, on the largest nodes. */
const AUDIT_MS = 9_000;
/** The kernel is read back when it has been left alone this long, so that changes do not wait for audits of the last. */
const QUIET_MS = 1_000;
/** And audits take no more than this part of the time. */
const AUDIT_SHARE = 0.02;
/** After a change it rests for so many times what that took: a flood of views is applied in few steps, not one each. */
const REST_FACTOR = 2;
const MAX_REST_MS = 50;
const NONE_AWAY: ReadonlySet<NodeId> = new Set();

export class NetworkLoop {
  readonly #options: NetworkLoopOptions;
  readonly #loop: Loop<'apply' | 'audit'>;
  /** What is shown: the managers' view, steered. */
  #view: NetworkView | undefined;
  /** The same, or what is to be shown next: the kernel is on its way there. */
  #coming: NetworkView | undefined;
  /** What the managers said, and who was away, when it was applied. */
  #base: NetworkView | undefined;
  #away: ReadonlySet<NodeId> = NONE_AWAY;
  readonly #copies: Steered = new WeakMap();
  readonly #listeners = new Set<() => void>();
  #audits: AuditStatus;
  /** No audit out of turn before. */
  #auditFrom = 0;
  #notHeld: string | undefined;

  constructor(options: NetworkLoopOptions) {
    this.#options = options;
    const { clock, log, random } = options;
    this.#audits = options.audits?.status ?? NO_AUDITS;
    this.#loop = new Loop<'apply' | 'audit'>({
      name: 'network',
      clock,
      log,
      reconcile: (key, signal) => (key === 'apply' ? this.#apply(signal) : this.#audit()),
      // A change need not wait for an audit: the network makes it between two looks of it.
      concurrency: 2,
      backoff: { base: 100, cap: 5_000 },
      full: { interval: options.auditMs ?? AUDIT_MS, random, keys: () => ['audit' as const] },
    });
  }

  start(): void {
    this.#loop.start();
    this.mark();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  mark(): void {
    this.#loop.mark('apply');
  }

  /** The view that the kernel shows. */
  get view(): NetworkView | undefined {
    return this.#view;
  }

  /** What is shown has its networks, and what comes has them still: one that left with a task may come back with the next. */
  isReadyFor(item: TaskItem): boolean {
    return [this.#view, this.#coming].every(
      (view) => view !== undefined && item.attachments.every((a) => view.networks.has(a.networkId)),
    );
  }

  /** A view with other networks was applied: whoever waited for one may go on. */
  onNetworks(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async #apply(signal: AbortSignal): Promise<void> {
    const { network, view: latest, away: isAway, applied, clock } = this.#options;
    const began = clock.monotonic();
    const view = latest();
    const away = isAway?.() ?? NONE_AWAY;
    if (!view || (this.#base && isSame(view, this.#base) && away === this.#away)) return;
    const effective = steer(view, away, this.#copies);
    this.#coming = effective;
    await network.apply(effective, signal);
    const before = this.#view;
    this.#view = effective;
    this.#base = view;
    this.#away = away;
    applied(view.revision);
    if (view.networks !== before?.networks) for (const listener of this.#listeners) listener();
    this.#tellPorts();
    this.#auditSoon();
    const rest = Math.min(MAX_REST_MS, REST_FACTOR * (clock.monotonic() - began));
    if (rest >= 1) await sleep(clock, rest, signal);
  }

  /** A change is programmed against what is remembered of the kernel; this is what makes the memory true. */
  #auditSoon(): void {
    const { clock, network } = this.#options;
    if (network.audit) this.#loop.markAfter('audit', Math.max(QUIET_MS, this.#auditFrom - clock.monotonic()));
  }

  #tellPorts(): void {
    const { network, saveNotHeld } = this.#options;
    const ports = Object.fromEntries(network.notHeld ?? []);
    const text = JSON.stringify(ports);
    if (text !== this.#notHeld) saveNotHeld?.(ports);
    this.#notHeld = text;
  }

  async #audit(): Promise<void> {
    const { network, clock, audits } = this.#options;
    if (!this.#view || !network.audit) return;
    const began = clock.monotonic();
    const { steps, total } = await network.audit();
    this.#tellPorts();
    const ended = clock.monotonic();
    const lastMs = Math.round(ended - began);
    this.#auditFrom = ended + Math.min(AUDIT_MS, lastMs / AUDIT_SHARE);
    this.#audits = {
      ...this.#audits,
      count: this.#audits.count + 1,
      lastMs,
      ...(total > 0 && {
        drifted: this.#audits.drifted + 1,
        repaired: sum(this.#audits.repaired, steps),
        lastDrift: clock.now(),
      }),
    };
    audits?.save(this.#audits);
  }
}

function sum(
  a: Readonly<Record<string, number>>,
  b: Readonly<Record<string, number>>,
): Record<string, number> {
  const total = { ...a };
  for (const [key, value] of Object.entries(b)) total[key] = (total[key] ?? 0) + value;
  return total;
}

/** Maps of the assignments are never changed in place, so that each is the same or another. */
const isSame = (a: NetworkView, b: NetworkView): boolean =>
  a.revision === b.revision &&
  a.self === b.self &&
  a.peers === b.peers &&
  a.networks === b.networks &&
  a.endpoints === b.endpoints &&
  a.services === b.services;
