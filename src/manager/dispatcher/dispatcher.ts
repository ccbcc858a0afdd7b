/** Serves `dispatcher.session` and `node.leave`; between terms of leadership it says who leads instead. */
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NodeId } from '../../model/ids.ts';
import type { Secret } from '../../model/objects.ts';
import { type Encoded, notLeader } from '../../rpc/frame.ts';
import { type ManagerAddress, PROTOCOL, type ToAgent, type ToManager } from '../../rpc/messages.ts';
import type { Call } from '../../rpc/server.ts';
import type { Fence, Store } from '../../store/store.ts';
import type { LiveView } from '../../store/view.ts';
import { peerIpv4 } from '../ca/issuer.ts';
import { type Session, Term } from './term.ts';

export interface DispatcherOptions {
  readonly store: Pick<Store, 'get' | 'transact'>;
  readonly view: LiveView;
  readonly clock: Clock;
  readonly log: Log;
  /** The data of a secret, base64; throws what can not be opened. */
  openSecret(secret: Secret): string;
  /** Who leads, as far as this manager knows. */
  leader(): ManagerAddress | undefined;
}

export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #sessionListeners = new Set<(node: NodeId) => void>();
  #term: Term | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Leads until the signal aborts. The view must show what was written before the election. */
  async lead(fence: Fence | undefined, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    const term = new Term({ ...this.#options, fence, signal, managers: () => this.managers() });
    this.#term = term;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    if (this.#term === term) this.#term = undefined;
    await term.reports.stop();
  }

  /** Control addresses of all managers. */
  managers(): readonly ManagerAddress[] {
    const managers: ManagerAddress[] = [];
    for (const { id, manager } of this.#options.view.all('node').values())
      if (manager) managers.push({ nodeId: id, addr: manager.addr });
    return managers;
  }

  /** Handler of `dispatcher.session`. */
  async *session(_params: unknown, call: Call<ToManager>): AsyncGenerator<Encoded> {
    const term = this.#term;
    if (!term) throw notLeader(this.#options.leader());
    const { nodeId } = call.peer!;
    const messages = call.input[Symbol.asyncIterator]();
    const first = await messages.next();
    if (first.done || first.value.type !== 'hello')
      throw new SkeinError('invalid-argument', 'a session starts with hello');
    const hello = first.value;
    if (hello.protocol !== PROTOCOL)
      throw new SkeinError(
        'failed-precondition',
        `the node speaks protocol ${hello.protocol}, the manager ${PROTOCOL}: upgrade the older of the two`,
      );
    if (this.#term !== term) throw notLeader(this.#options.leader());
    const session = term.open(nodeId);
    const done = () => term.close(session);
    call.signal.addEventListener('abort', done, { once: true });
    const addr = peerIpv4(call.address) ?? hello.dataPathAddr;
    void term.nodes.ready(nodeId, hello.description, hello.dataPathAddr, addr);
    void this.#hear(term, session, messages);
    for (const listener of this.#sessionListeners) listener(nodeId);
    try {
      yield* session.queue;
    } finally {
      done();
    }
  }

  /** Handler of `node.leave`. */
  async leave(nodeId: NodeId): Promise<void> {
    if (!this.#term) throw notLeader(this.#options.leader());
    await this.#term.leave(nodeId);
  }

  /** False when the node has no session here. */
  send(nodeId: NodeId, message: ToAgent): boolean {
    return this.#term?.send(nodeId, message) ?? false;
  }

  get leading(): boolean {
    return this.#term !== undefined;
  }

  /** Called with the node of each session that opens. */
  onSession(listener: (node: NodeId) => void): () => void {
    this.#sessionListeners.add(listener);
    return () => this.#sessionListeners.delete(listener);
  }

  async #hear(term: Term, session: Session, messages: AsyncIterator<ToManager>): Promise<void> {
    try {
      for (let next = await messages.next(); !next.done; next = await messages.next()) {
        if (session.queue.ended) return;
        term.nodes.seen(session.nodeId);
        this.#take(term, session, next.value);
      }
      term.close(session);
    } catch (error) {
      term.close(session, error);
    }
  }

  #take(term: Term, { nodeId }: Session, message: ToManager): void {
    switch (message.type) {
      case 'status':
        return term.reports.add(nodeId, message.tasks, message.sentAt);
      case 'applied':
        return term.applied(nodeId, message.revision);
      case 'heartbeat':
        return;
      case 'hello':
        throw new SkeinError('invalid-argument', 'hello is said once');
    }
  }
}
