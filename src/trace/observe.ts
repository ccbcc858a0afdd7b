/** Captured frames as observations for `joinConnections`; what is no IPv4 packet is left out. Pure. */
import { decode } from './decode.ts';
import type { Observation } from './join.ts';
import type { CapturedFrame } from './packet-socket.ts';

export const observe = (frames: readonly CapturedFrame[], vxlanPort?: number): readonly Observation[] =>
  frames.flatMap(({ point, time, direction, bytes }) => {
    const packet = decode(bytes, vxlanPort);
    return packet ? [{ point, time, direction, packet }] : [];
  });
