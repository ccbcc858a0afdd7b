/**
 * The kernel's own record of each connection: the tuple as it came and the one that answers come by. Read from
 * /proc inside the namespace, which needs no program and no netlink; where the kernel does not offer that file, the
 * list is empty and `join` goes by TCP sequence numbers alone.
 */
import { readFileSync } from 'node:fs';
import { inNetns } from '../kit/netns.ts';

export interface Tuple {
  readonly protocol: 'tcp' | 'udp';
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

export interface ConntrackEntry {
  readonly original: Tuple;
  readonly reply: Tuple;
  readonly state: string | undefined;
}

const TUPLE = /src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)/g;

/** Lines such as `ipv4 2 tcp 6 117 TIME_WAIT src=.. dst=.. sport=.. dport=.. src=.. ... [ASSURED] mark=0`. */
export function parseConntrack(text: string): readonly ConntrackEntry[] {
  return text.split('\n').flatMap((line) => {
    const [family, , protocol, , , state] = line.trim().split(/\s+/);
    if (family !== 'ipv4' || (protocol !== 'tcp' && protocol !== 'udp')) return [];
    const [original, reply] = [...line.matchAll(TUPLE)].map(
      (match): Tuple => ({
        protocol,
        source: match[1]!,
        destination: match[2]!,
        sourcePort: Number(match[3]),
        destinationPort: Number(match[4]),
      }),
    );
    if (!original || !reply) return [];
    return [{ original, reply, state: state && /^[A-Z_]+$/.test(state) ? state : undefined }];
  });
}

export function readConntrack(netns: string): readonly ConntrackEntry[] {
  return inNetns(netns, () => {
    try {
      return parseConntrack(readFileSync('/proc/thread-self/net/nf_conntrack', 'utf8'));
    } catch {
      return [];
    }
  });
}
