/** A packet as it was seen at one spot: one interface of one node, on its way in or out. */
import { decode, type Packet } from './decode.ts';
import type { CapturedFrame } from './packet-socket.ts';

export interface Observation {
  /** The node. */
  readonly point: string;
  /** The interface there: `eth0`, `fabric/vx-4096`. */
  readonly link: string;
  readonly direction: 'in' | 'out' | 'other';
  /** Nanoseconds since the epoch. */
  readonly time: bigint;
  readonly packet: Packet;
}

export const spotOf = ({ point, link, direction }: Observation): string => `${point} ${link} ${direction}`;

export const byTime = (a: { readonly time: bigint }, b: { readonly time: bigint }): number =>
  a.time < b.time ? -1 : a.time > b.time ? 1 : 0;

/** Captured frames as observations; what is no whole IPv4 header is left out. Pure. */
export const observe = (frames: readonly CapturedFrame[], vxlanPort?: number): readonly Observation[] =>
  frames.flatMap(({ point, link, time, direction, bytes }) => {
    const packet = decode(bytes, vxlanPort);
    return packet ? [{ point, link, time, direction, packet }] : [];
  });
