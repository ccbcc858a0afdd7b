/** Names in the nftables table, for those who plan it and those who program it. */
import { ipToInt } from '../kit/cidr.ts';
import type { Ipv4 } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';
import type { Frontend, RoundRobin } from './state.ts';

export const TABLE = 'skein';

export const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp'];

/**
 * The slots of a protocol are spread over some maps by port. The kernel checks each new element against every rule
 * that uses its map, and walks the map for each new rule: with one map for all, 5,000 ports cost 1.3 s to load.
 */
const MAPS: Record<Protocol, number> = { tcp: 16, udp: 4, sctp: 1 };

/** (port . slot) -> (address . port) */
export const slotsMap = (protocol: Protocol, port: number): string =>
  `slots-${protocol}-${port % MAPS[protocol]}`;

export const slotsMaps = (protocol: Protocol): readonly string[] =>
  Array.from({ length: MAPS[protocol] }, (_, n) => slotsMap(protocol, n));

/** The same for virtual IPs, in a sandbox: (address . slot) -> address */
const VIP_MAPS = 16;
export const vipSlotsMap = (address: Ipv4): string => `slots-vip-${ipToInt(address) % VIP_MAPS}`;
export const vipSlotsMaps: readonly string[] = Array.from({ length: VIP_MAPS }, (_, n) => `slots-vip-${n}`);

/** Bits of a connection's mark: its client keeps its address. High, and few, to stay out of others' way. */
export const CLIENT_KEPT = 0x5300_0000;
export const CLIENT_KEPT_MASK = 0xff00_0000;

/** (frontend) -> how many backends it has */
export const COUNTS = 'counts';

/** (frontend . how many) -> the chain of its round robin over so many */
export const CHAINS: Readonly<Record<Frontend['kind'], string>> = { port: 'published', vip: 'vips' };

/** (address . protocol . port) -> (address . port) */
export const BOUND = 'bound';

/** The chain that every connection to a frontend passes. */
export const BALANCE = 'balance';

/** Comment of the rule of a round robin's chain: how it is recognised when it is read back. */
export const ruleMark = ({ modulus, keepClient }: RoundRobin): string =>
  `round robin of ${modulus}${keepClient ? ', client kept' : ''}`;

/** The chain of a frontend's round robin over so many. */
export const chainOf = (f: Frontend, modulus: number = f.backends.length): string =>
  `${f.kind === 'port' ? `${f.protocol}-${f.port}` : `vip-${f.address}`}-${modulus}`;

/** The round robins of a frontend: over one, and all up to the power of two that has room for what stands. */
export function roundRobinsOf(f: Frontend): RoundRobin[] {
  const keepClient = f.kind === 'port' && f.keepClient;
  return Array.from({ length: roomFor(f.standing) }, (_, n) => ({ modulus: n + 1, keepClient }));
}

/** 1, 2, 4, 8, ... */
const roomFor = (standing: number): number => (standing <= 1 ? 1 : 1 << (32 - Math.clz32(standing - 1)));
