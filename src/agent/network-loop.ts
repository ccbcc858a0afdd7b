/**
 * Keeps the kernel's network at the manager's latest view, and says so: `applied` is what the manager's drains wait
 * for, so it is said only after the kernel agrees. One loop with one key: views that come while one is applied are
 * merged into the last of them.
 */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import { Loop } from '../kit/loop.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { NodeNetwork } from '../net/network.ts';
import type { TaskItem } from '../rpc/messages.ts';

/** Reads the kernel back and repairs what somebody else changed. */
export interface AuditedNetwork extends NodeNetwork {
  audit?(): Promise<unknown>;
}

export interface NetworkLoopOptions {
  readonly network: AuditedNetwork;
  readonly view: () => NetworkView | undefined;
  readonly applied: (revision: number) => void;
  /** A view with other networks was applied: tasks that waited for theirs may go on. */
  readonly onNetworks: () => void;
  readonly clock: Clock;
  readonly log: Log;
  readonly auditMs?: number;
}

const AUDIT_MS = 10_000;

export class NetworkLoop {
  readonly #options: NetworkLoopOptions;
  readonly #loop: Loop<'apply' | 'audit'>;
  #view: NetworkView | undefined;

  constructor(options: NetworkLoopOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#loop = new Loop<'apply' | 'audit'>({
      name: 'network',
      clock,
      log,
      reconcile: (key, signal) => (key === 'apply' ? this.#apply(signal) : this.#audit()),
      backoff: { base: 100, cap: 5_000 },
      full: { interval: options.auditMs ?? AUDIT_MS, keys: () => ['audit' as const] },
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

  isReadyFor(item: TaskItem): boolean {
    const view = this.#view;
    return view !== undefined && item.attachments.every((a) => view.networks.has(a.networkId));
  }

  async #apply(signal: AbortSignal): Promise<void> {
    const view = this.#options.view();
    if (!view || (this.#view && isSame(view, this.#view))) return;
    await this.#options.network.apply(view, signal);
    const before = this.#view;
    this.#view = view;
    this.#options.applied(view.revision);
    if (view.networks !== before?.networks) this.#options.onNetworks();
  }

  async #audit(): Promise<void> {
    if (!this.#view || !this.#options.network.audit) return;
    const report = await this.#options.network.audit();
    this.#options.log.debug('network audited', { report });
  }
}

/** Maps of the assignments are never changed in place, so that each is the same or another. */
const isSame = (a: NetworkView, b: NetworkView): boolean =>
  a.revision === b.revision &&
  a.self === b.self &&
  a.peers === b.peers &&
  a.networks === b.networks &&
  a.endpoints === b.endpoints &&
  a.services === b.services;
