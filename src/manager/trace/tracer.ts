/**
 * manager/trace: packets of one service's connections, from every node that they pass, as one stream. The leader asks
 * the nodes through manager/streams; when the cluster changes, what is captured follows.
 *
 * INVARIANT: every node that takes part is told of by name: that it captures, that it does not, or that it does no
 * more, and why. Nothing waits for a node: a dead one is known by its session or its state, and time ends all.
 */
import type { Clock } from '../../kit/clock.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import type { NodeId } from '../../model/ids.ts';
import { Queue } from '../../rpc/queue.ts';
import type { Call } from '../../rpc/server.ts';
import type { TraceBatch, TraceEvent, TraceQuery, TraceRequest } from '../../rpc/trace-messages.ts';
import type { LiveView } from '../../store/view.ts';
import {
  NodeStreams,
  type NodeStreamsOptions,
  type StreamEnd,
  type Subscription,
} from '../streams/node-streams.ts';
import { planTrace, type TracedNode, type TracePlan } from './plan.ts';

export interface TracerOptions extends NodeStreamsOptions {
  readonly view: LiveView;
  /** Told of each session that opens. */
  onSession(listener: (node: NodeId) => void): () => void;
}

/** Batches that wait for the reader: a few megabytes. */
const QUEUED = 32;
/** Changes of the cluster are looked at together. */
const SETTLE_MS = 50;
/** At the end: what the nodes have captured last is on its way. */
const LAST_MS = 300;
export const LEADER_CHANGED = 'the leader of the cluster changed; start the trace again for what comes now';

export class Tracer {
  readonly #options: TracerOptions;
  readonly #streams: NodeStreams<TraceBatch>;
  readonly #runs = new Set<TraceRun>();

  constructor(options: TracerOptions) {
    this.#options = options;
    this.#streams = new NodeStreams(options);
  }

  /** This manager leads until `lost`. The sessions go then, and with them every trace, which says why. */
  lead(lost: AbortSignal): void {
    const end = () => {
      for (const run of this.#runs) run.end(LEADER_CHANGED);
    };
    lost.addEventListener('abort', end, { once: true });
  }

  async *read(query: TraceQuery, signal: AbortSignal): AsyncGenerator<TraceEvent> {
    const run = new TraceRun(query, this.#options, this.#streams);
    const stop = () => run.end('canceled');
    signal.addEventListener('abort', stop, { once: true });
    this.#runs.add(run);
    try {
      run.start();
      for await (const event of run.events) {
        if (signal.aborted) return;
        yield event;
        run.wake();
      }
    } finally {
      signal.removeEventListener('abort', stop);
      this.#runs.delete(run);
      run.close();
    }
  }

  /** Handler of `trace.publish`. */
  publish(params: { readonly id: string }, call: Pick<Call<TraceBatch>, 'peer' | 'input' | 'signal'>) {
    return this.#streams.publish(params, call);
  }
}

/** A trace that has begun, read from the leader: when that dies, it ends in words. */
export async function* untilLeaderChanges(
  events: AsyncIterable<TraceEvent>,
  signal: AbortSignal,
): AsyncGenerator<TraceEvent> {
  let last: TraceEvent | undefined;
  try {
    for await (const event of events) yield (last = event);
  } catch (error) {
    if (!last || !isCode(error, 'unavailable')) throw error;
  }
  if (last && last.type !== 'end' && !signal.aborted) yield { type: 'end', why: LEADER_CHANGED };
}

class TraceRun {
  readonly events = new Queue<TraceEvent>(Number.POSITIVE_INFINITY);
  readonly #query: TraceQuery;
  readonly #options: TracerOptions;
  readonly #streams: NodeStreams<TraceBatch>;
  readonly #parts = new Map<NodeId, Subscription<TraceBatch>>();
  /** What was said last of each node. */
  readonly #said = new Map<NodeId, string | undefined>();
  readonly #stops: (() => void)[] = [];
  #plan: TracePlan | undefined;
  #cancelSettle: (() => void) | undefined;
  #planning = false;
  /** Why it is about to end. */
  #ending: string | undefined;

  constructor(query: TraceQuery, options: TracerOptions, streams: NodeStreams<TraceBatch>) {
    this.#query = query;
    this.#options = options;
    this.#streams = streams;
  }

  start(): void {
    const { view, clock, onSession } = this.#options;
    if (!planTrace(view, this.#query))
      throw new SkeinError('not-found', `service ${this.#query.service} not found`);
    this.#replan();
    this.#stops.push(
      view.onChange(() => this.#settle(clock)),
      onSession((node) => this.#askOne(node)),
      clock.after(this.#query.maxMs, () => this.#finish('the time is over')),
    );
  }

  #finish(why: string): void {
    if (this.#ending !== undefined) return;
    this.#ending = why;
    this.#stops.push(this.#options.clock.after(LAST_MS, () => this.end(why)));
  }

  end(why: string): void {
    this.events.push({ type: 'end', why });
    this.events.end();
  }

  wake(): void {
    for (const part of this.#parts.values()) this.#streams.wake(part);
  }

  close(): void {
    this.#cancelSettle?.();
    for (const stop of this.#stops) stop();
    this.events.end();
    for (const part of [...this.#parts.values()]) this.#streams.close(part);
  }

  #settle(clock: Clock): void {
    this.#cancelSettle ??= clock.after(SETTLE_MS, () => {
      this.#cancelSettle = undefined;
      this.#replan();
    });
  }

  #replan(): void {
    const before = this.#plan;
    const plan = planTrace(this.#options.view, this.#query);
    if (!plan) return this.#finish('the service was removed');
    this.#plan = plan;
    const differs = (a: unknown, b: unknown) => JSON.stringify(a) !== JSON.stringify(b);
    if (differs(before?.scene, plan.scene)) this.events.push({ type: 'scene', scene: plan.scene });
    if (before && differs(before.filter, plan.filter))
      for (const part of this.#parts.values()) this.#streams.askAgain(part);
    for (const [id, part] of this.#parts)
      if (!plan.nodes.some((node) => node.id === id)) this.#streams.close(part);
    this.#planning = true;
    for (const node of plan.nodes) this.#consider(node);
    this.#planning = false;
    this.#endWhenAlone();
  }

  /** A node that can be asked and was not; one that has gone down is not waited for. */
  #consider(node: TracedNode): void {
    const part = this.#parts.get(node.id);
    if (node.absent !== undefined) {
      this.#say(node, node.absent);
      if (part) this.#streams.close(part);
    } else if (!part && !this.#said.has(node.id)) this.#ask(node);
  }

  /** Its session has come back, or is its first. */
  #askOne(id: NodeId): void {
    const node = this.#plan?.nodes.find((n) => n.id === id);
    if (node && !this.events.ended && !this.#parts.has(id)) this.#ask(node);
  }

  #ask(node: TracedNode): void {
    const { events } = this;
    const part: Subscription<TraceBatch> = {
      nodeId: node.id,
      ask: (id) => ({ type: 'trace', request: this.#request(id) }),
      cancel: (id) => ({ type: 'trace-cancel', id }),
      room: () => events.ended || events.size < QUEUED,
      take: (batch) => {
        if (this.#ending === undefined) this.#say(node, batch.ended);
        return events.push({ type: 'packets', node: node.hostname, batch });
      },
      ended: (end) => {
        this.#parts.delete(node.id);
        const why = REASONS[end];
        if (why !== undefined && this.#ending === undefined) this.#say(node, why);
        this.#endWhenAlone();
      },
    };
    this.#parts.set(node.id, part);
    this.#streams.open(part);
  }

  #request(id: string): TraceRequest {
    const { maxPackets, maxMs } = this.#query;
    const { filter, scene } = this.#plan!;
    return { id, filter, vxlanPort: scene.vxlanPort, maxPackets, maxMs };
  }

  #say({ id, hostname }: TracedNode, why: string | undefined): void {
    if (this.#said.has(id) && this.#said.get(id) === why) return;
    this.#said.set(id, why);
    this.events.push({ type: 'node', node: hostname, why });
  }

  #endWhenAlone(): void {
    if (this.#parts.size === 0 && !this.#planning) this.end(this.#ending ?? 'no node captures');
  }
}

const REASONS: Readonly<Record<StreamEnd, string | undefined>> = {
  complete: undefined,
  closed: undefined,
  lost: 'its connection to the leader was lost',
  'no session': 'it has no session with the leader',
  'no answer': 'it does not answer',
};
