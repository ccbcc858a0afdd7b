/**
 * What `skein trace` makes of the stream of a trace: connections as they are complete, nodes that take part and those
 * that do not, and every frame for a file. Bounded by what the nodes may send.
 */
import { contains, parseCidr } from '../kit/cidr.ts';
import type { Cidr, Ipv4 } from '../model/ids.ts';
import type { TraceBatch, TraceEvent, TraceScene } from '../rpc/trace-messages.ts';
import type { Connection } from './connection.ts';
import { Joiner } from './joiner.ts';
import { byTime, observe } from './observe.ts';
import type { CapturedFrame } from './packet-socket.ts';
import type { Uncertainties } from './render.ts';
import type { TraceNames } from './table.ts';

export type { TraceEvent };

export interface TraceReportOptions {
  /** Only connections from these; none: from anywhere. */
  readonly clients: readonly string[];
  readonly keepFrames: boolean;
}

const NO_NAMES: TraceScene['names'] = { addresses: {}, macs: {} };

export class TraceReport {
  /** By name; why it does not capture, or does so no more. */
  readonly nodes = new Map<string, string | undefined>();
  readonly #clients: readonly Cidr[];
  readonly #keepFrames: boolean;
  readonly #clocks = new Map<string, number>();
  readonly #frames: CapturedFrame[] = [];
  readonly #backends = new Set<string>();
  readonly #joiner: Joiner;
  #scene: TraceScene | undefined;
  #packets = 0;
  #end: string | undefined;

  constructor({ clients, keepFrames }: TraceReportOptions) {
    this.#clients = clients.map((client) => parseCidr(client.includes('/') ? client : `${client}/32`));
    this.#keepFrames = keepFrames;
    this.#joiner = new Joiner(() => ({
      entrances: this.#scene?.entrances ?? [],
      backends: this.#backends,
    }));
  }

  take(event: TraceEvent, now: number): void {
    switch (event.type) {
      case 'scene':
        this.#scene = event.scene;
        // A container that has gone is one of the service's still, in what was captured before.
        for (const address of event.scene.backends) this.#backends.add(address);
        return;
      case 'node':
        this.nodes.set(event.node, event.why);
        return;
      case 'packets':
        return this.#packetsOf(event.node, event.batch, now);
      case 'end':
        this.#end = event.why;
        return;
    }
  }

  /** Connections that are complete at this time, each once; with `all` those that are not as well. */
  connections(now: number, all = false): readonly Connection[] {
    return this.#joiner.take(now, all).filter(({ client }) => this.#isAsked(client.ip as Ipv4));
  }

  get names(): TraceNames {
    const { addresses, macs } = this.#scene?.names ?? NO_NAMES;
    return { addresses: new Map(Object.entries(addresses)), macs: new Map(Object.entries(macs)) };
  }

  get clocks(): Uncertainties {
    return this.#clocks;
  }

  get packets(): number {
    return this.#packets;
  }

  /** Connections that were open before the trace; nothing of them is shown. */
  get midway(): number {
    return this.#joiner.midway;
  }

  /** Why the stream ended, as its last event says. */
  get end(): string | undefined {
    return this.#end;
  }

  /** All that was captured, in order of time. */
  frames(): readonly CapturedFrame[] {
    return this.#frames.toSorted(byTime);
  }

  #packetsOf(node: string, { frames, translations, uncertainty }: TraceBatch, now: number): void {
    if (uncertainty > 0) this.#clocks.set(node, uncertainty);
    const captured = frames.map(
      (frame): CapturedFrame => ({
        ...frame,
        point: node,
        time: BigInt(frame.time),
        bytes: Buffer.from(frame.bytes, 'base64'),
      }),
    );
    this.#packets += captured.length;
    if (this.#keepFrames) this.#frames.push(...captured);
    this.#joiner.learn(translations);
    this.#joiner.add(observe(captured, this.#scene?.vxlanPort), now);
  }

  #isAsked(client: Ipv4): boolean {
    return this.#clients.length === 0 || this.#clients.some((subnet) => contains(subnet, client));
  }
}
