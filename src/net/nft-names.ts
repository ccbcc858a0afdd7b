/** Names in the nftables table, for those who plan it and those who program it. */
import type { Protocol } from '../model/spec.ts';

export const TABLE = 'skein';

export const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp'];

/** (port . slot) -> (address . port) */
export const slotsMap = (protocol: Protocol): string => `slots-${protocol}`;

/** Comment of the one rule of a published port's chain: how it is recognised when it is read back. */
export const portMark = (modulus: number): string =>
  modulus > 0 ? `round robin of ${modulus}` : 'no backend';
