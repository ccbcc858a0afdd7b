/**
 * One node's part of `skein trace`: captures in its own namespace (uplink, ingress endpoint, tunnels) and in the fabric
 * (every container's link, bridges, VXLAN devices), so nothing is needed in any container; and asks connection tracking
 * of each new connection what it was before translation. Costs nothing while nobody traces: a socket exists only as
 * long as a request runs, and no longer than its bounds.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, sleep } from '../kit/clock.ts';
import { readHostClock } from '../kit/host-clock.ts';
import { isNetns } from '../kit/netns.ts';
import { SkeinError } from '../model/errors.ts';
import type { TraceBatch, TraceFilter, TraceFrame, TraceRequest } from '../rpc/trace-messages.ts';
import { type ClockOffset, measureOffset } from './clock-offset.ts';
import { type Translation, translationsTo, type Tuple, tupleKey } from './conntrack.ts';
import type { CaptureFilter } from './filter.ts';
import { openingTuples } from './flow.ts';
import { type Observation, observe } from './observe.ts';
import { Capture, type CapturedFrame } from './packet-socket.ts';

export interface NodeTracerOptions {
  /** Holds `netns/`, see net/places.ts. */
  readonly runRoot: string;
  readonly clock: Clock;
  /** The node's own namespace. */
  readonly netns?: string;
}

/** So many traces of one node at a time. */
const MAX_TRACES = 8;
const BATCH_MS = 100;
/** A batch is a message of some hundred kilobytes at most. */
const BATCH_FRAMES = 250;

const ROOT = 'root';
const FABRIC = 'fabric';
/** The fabric's end of a container's link bears the beginning of its id, see net/link-names.ts. */
const CONTAINER_LINK = /^sk([0-9a-f]{10})-/;

interface Running {
  readonly capture: Capture;
  readonly vxlanPort: number;
  readonly clock: ClockOffset;
  /** Tuples that connection tracking was asked for, by place. */
  readonly asked: Set<string>;
}

export class NodeTracer {
  readonly #folder: string;
  readonly #root: string;
  readonly #clock: Clock;
  readonly #running = new Map<string, Running>();

  constructor({ runRoot, clock, netns }: NodeTracerOptions) {
    this.#folder = join(runRoot, 'netns');
    this.#root = netns ?? '/proc/self/ns/net';
    this.#clock = clock;
  }

  async *read(
    request: TraceRequest,
    leaderClock: () => Promise<{ readonly time: string; readonly boot: string }>,
    signal: AbortSignal,
  ): AsyncGenerator<TraceBatch> {
    try {
      const clock = await measureOffset(readHostClock, leaderClock);
      if (!signal.aborted) yield* this.#capture(request, clock, signal);
    } catch (error) {
      const ended = SkeinError.from(error).message;
      yield { frames: [], translations: [], uncertainty: 0, ended };
    }
  }

  refilter({ id, filter, vxlanPort }: TraceRequest): boolean {
    const running = this.#running.get(id);
    running?.capture.setFilter(captureFilter(filter, vxlanPort));
    return running !== undefined;
  }

  async *#capture(
    request: TraceRequest,
    clock: ClockOffset,
    signal: AbortSignal,
  ): AsyncGenerator<TraceBatch> {
    const { id, filter, vxlanPort, maxPackets, maxMs } = request;
    if (this.#running.size >= MAX_TRACES)
      throw new SkeinError('resource-exhausted', `${MAX_TRACES} traces run on this node already`);
    const limits = { maxPackets, maxMs };
    const capture = Capture.start(this.#points(), captureFilter(filter, vxlanPort), limits);
    const running: Running = { capture, vxlanPort, clock, asked: new Set() };
    this.#running.set(id, running);
    const uncertainty = Number(clock.uncertainty);
    try {
      yield { frames: [], translations: [], uncertainty };
      let captured = 0;
      for (let full = false; !full && !signal.aborted; ) {
        await sleep(this.#clock, BATCH_MS, signal);
        full = capture.full;
        const frames = capture.take();
        captured += frames.length;
        for (let at = 0; at < frames.length; at += BATCH_FRAMES)
          yield { ...this.#batch(running, frames.slice(at, at + BATCH_FRAMES)), uncertainty };
      }
      if (!signal.aborted)
        yield { frames: [], translations: [], uncertainty, ended: endOf(captured, maxPackets) };
    } finally {
      capture.stop();
      this.#running.delete(id);
    }
  }

  #points() {
    const fabric = join(this.#folder, FABRIC);
    return [{ name: ROOT, netns: this.#root }, ...(isNetns(fabric) ? [{ name: FABRIC, netns: fabric }] : [])];
  }

  #batch(running: Running, frames: readonly CapturedFrame[]): Pick<TraceBatch, 'frames' | 'translations'> {
    const { vxlanPort, clock } = running;
    return {
      frames: frames.map((frame) => encodeFrame(frame, clock.offset)),
      translations: this.#translations(running, observe(frames, vxlanPort)),
    };
  }

  /** Each place is asked for what it may have translated: the node's own, and those of containers that send. */
  #translations({ asked }: Running, observations: readonly Observation[]): readonly Translation[] {
    const places = Map.groupBy(
      observations.filter(({ packet }) => !packet.tunnel),
      (seen) => this.#placeOf(seen),
    );
    return [...places].flatMap(([netns, seen]) => {
      if (netns === undefined) return [];
      const fresh = openingTuples(seen).filter((tuple) => isFirst(asked, `${netns} ${tupleKey(tuple)}`));
      return lookUp(netns, fresh);
    });
  }

  #placeOf({ point, link, direction }: Observation): string | undefined {
    if (point === ROOT) return this.#root;
    const container = direction === 'in' ? CONTAINER_LINK.exec(link)?.[1] : undefined;
    const name = container && readdirSync(this.#folder).find((file) => file.startsWith(container));
    return name && join(this.#folder, name);
  }
}

const captureFilter = ({ hosts, ports, clients }: TraceFilter, vxlanPort: number): CaptureFilter => ({
  vxlanPort,
  any: [{ hosts }, { ports, ...(clients.length > 0 && { hosts: clients }) }],
});

const endOf = (captured: number, maxPackets: number): string =>
  captured >= maxPackets ? `it has captured its bound of ${maxPackets} packets` : 'the time is over';

function isFirst(seen: Set<string>, key: string): boolean {
  if (seen.has(key)) return false;
  seen.add(key);
  return true;
}

/** A container that has gone meanwhile took its connections with it. */
function lookUp(netns: string, tuples: readonly Tuple[]): readonly Translation[] {
  return isNetns(netns) || netns.startsWith('/proc/') ? translationsTo(netns, tuples) : [];
}

const encodeFrame = (frame: CapturedFrame, offset: bigint): TraceFrame => ({
  link: frame.point === ROOT ? frame.link : `${FABRIC}/${frame.link}`,
  direction: frame.direction,
  time: String(frame.time + offset),
  length: frame.length,
  bytes: frame.bytes.toString('base64'),
});
