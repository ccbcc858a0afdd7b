/**
 * Walking a connection through planned rules, as managers and agents say it: each node walks its own part, from where a
 * packet comes to it to where it leaves it, and the manager joins the parts (trace/explain.ts). Plain values, a few
 * hundred bytes a part, whatever the node holds.
 */
import { z } from 'zod';
import type { Ipv4, Mac, Vni } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';

export interface Ends {
  readonly source: { readonly ip: Ipv4; readonly port: number };
  readonly destination: { readonly ip: Ipv4; readonly port: number };
}

export interface WalkedPacket extends Ends {
  readonly protocol: Protocol;
  /** The first answer of a connection; else the packet that opens it. */
  readonly reply: boolean;
  /** Bytes of the IP packet. */
  readonly size: number;
}

/** What the connection tracking of one namespace remembers: the connection as it came, and as it went on. */
export interface Tracked {
  /** `root`, or a container's id. */
  readonly place: string;
  readonly mark: number;
  readonly original: Ends;
  readonly translated: Ends;
}

export type WalkFrom =
  /** From outside, on the node's uplink. */
  | { readonly at: 'uplink' }
  /** A process of the node itself. */
  | { readonly at: 'node' }
  /** The container with a link of this MAC, or with this id. Its source address follows from its routes. */
  | { readonly at: 'container'; readonly mac?: Mac | undefined; readonly id?: string | undefined }
  | {
      readonly at: 'tunnel';
      readonly vni: Vni;
      readonly vtep: Ipv4;
      readonly sourceMac: Mac;
      readonly destinationMac: Mac;
    };

export interface WalkStart {
  readonly from: WalkFrom;
  readonly packet: WalkedPacket;
  /** What this node's namespaces remember of the connection. */
  readonly tracked: readonly Tracked[];
}

/** A packet on one segment of its way. */
export interface WalkedHop extends Ends {
  readonly sourceMac?: Mac | undefined;
  readonly destinationMac?: Mac | undefined;
  /** On the node's uplink, or in no network of Skein's. */
  readonly outside: boolean;
}

const LOSSES = [
  'no-backend', // refused: nobody in rotation
  'not-published',
  'rule', // of Skein's own table
  'firewall', // of the host
  'no-route',
  'no-neighbour',
  'no-fdb',
  'mtu',
  'no-such-container',
  'no-answer', // the node was asked and said nothing
  'endless',
] as const;

export interface Loss {
  readonly code: (typeof LOSSES)[number];
  readonly text: string;
}

export type WalkEnd =
  | { readonly kind: 'delivered'; readonly place: string; readonly packet: WalkedPacket }
  | { readonly kind: 'uplink'; readonly packet: WalkedPacket }
  | {
      readonly kind: 'tunnel';
      readonly vni: Vni;
      readonly vtep: Ipv4;
      readonly sourceMac: Mac;
      readonly destinationMac: Mac;
      readonly packet: WalkedPacket;
    }
  | { readonly kind: 'lost'; readonly loss: Loss };

/** One node's part of one way. A start at which the rules choose among backends has a leg for each of them. */
export interface Leg {
  readonly hops: readonly WalkedHop[];
  /** Rules, routes and entries that decided, in order, in words. */
  readonly decisions: readonly string[];
  readonly tracked: readonly Tracked[];
  readonly end: WalkEnd;
  /** Tasks that the rules do not choose, and why not. */
  readonly passedOver: readonly string[];
}

/** A manager asks a node; the node answers by `explain.answer` with the same id. */
export interface WalkRequest {
  readonly id: string;
  readonly starts: readonly WalkStart[];
}

/** A SYN with its options, and the answer to it. */
export const OPENING_SIZE = 60;

/** What a user asks; the rest is found out. */
export interface ExplainQuestion {
  /** An address, a node, or a task. */
  readonly client: string;
  /** `NODE:PORT`, or from within a network also `VIP:PORT`, `SERVICE:PORT`, `ADDRESS:PORT`. */
  readonly target: string;
  readonly protocol: Protocol;
  /** The client's own port. */
  readonly clientPort: number;
  /** Only ways to this task, by name, id or address. */
  readonly backend: string | undefined;
  /** Of the packet; TCP's segments are fitted to the way. */
  readonly size: number;
}

const text = z.string().max(4096);
const ip = z.ipv4() as unknown as z.ZodType<Ipv4>;
const mac = z.string().max(17) as unknown as z.ZodType<Mac>;
const vni = z.number().int() as unknown as z.ZodType<Vni>;
const end = z.object({ ip, port: z.number().int().min(0).max(65535) });
const ends = { source: end, destination: end };
const packet = z.object({
  ...ends,
  protocol: z.enum(['tcp', 'udp', 'sctp']),
  reply: z.boolean(),
  size: z.number().int(),
});
const tunnel = { vni, vtep: ip, sourceMac: mac, destinationMac: mac };
const tracked = z.object({
  place: text,
  mark: z.number().int(),
  original: z.object(ends),
  translated: z.object(ends),
});

const leg: z.ZodType<Leg> = z.object({
  hops: z
    .array(
      z.object({ ...ends, sourceMac: mac.optional(), destinationMac: mac.optional(), outside: z.boolean() }),
    )
    .max(100),
  decisions: z.array(text).max(1000),
  tracked: z.array(tracked).max(100),
  end: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('delivered'), place: text, packet }),
    z.object({ kind: z.literal('uplink'), packet }),
    z.object({ kind: z.literal('tunnel'), ...tunnel, packet }),
    z.object({ kind: z.literal('lost'), loss: z.object({ code: z.enum(LOSSES), text }) }),
  ]),
  passedOver: z.array(text).max(10_000),
});
/** For each start its legs. */
export const walkAnswer: z.ZodType<readonly (readonly Leg[])[]> = z
  .array(z.array(leg).max(10_000))
  .max(10_000);

export const walkStarts: z.ZodType<readonly WalkStart[]> = z
  .array(
    z.object({
      from: z.discriminatedUnion('at', [
        z.object({ at: z.literal('uplink') }),
        z.object({ at: z.literal('node') }),
        z.object({ at: z.literal('container'), mac: mac.optional(), id: text.optional() }),
        z.object({ at: z.literal('tunnel'), ...tunnel }),
      ]),
      packet,
      tracked: z.array(tracked).max(100),
    }),
  )
  .max(10_000);
