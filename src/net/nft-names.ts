/** Names in the nftables table, for those who plan it and those who program it. */
import type { Protocol } from '../model/spec.ts';

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

/** Comment of the one rule of a published port's chain: how it is recognised when it is read back. */
export const portMark = (modulus: number): string =>
  modulus > 0 ? `round robin of ${modulus}` : 'no backend';
