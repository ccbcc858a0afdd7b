/** Which subnet the gateway bridge of a node has. Pure. */
import { interfaceAddress, intToIp, overlaps, parseCidr, prefixLength, range } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { Cidr, InterfaceAddress } from '../model/ids.ts';

export const DEFAULT_GATEWAY_SUBNET = '172.18.0.0/16' as Cidr;

/** Docker's own default pools come in this order, too. */
const FALLBACKS: readonly Cidr[] = [
  ...Array.from({ length: 13 }, (_, i) => `172.${19 + i}.0.0/16`),
  ...Array.from({ length: 16 }, (_, i) => `192.168.${i * 16}.0/20`),
].map(parseCidr);

export interface GatewayFacts {
  readonly wanted: Cidr;
  /** Gateway addresses of sandboxes that exist: they keep their subnet. */
  readonly sandboxes: readonly InterfaceAddress[];
  /** Address of the gateway bridge, if there is one. */
  readonly present: InterfaceAddress | undefined;
  /** Subnets of the node's routes and of the networks it takes part in. */
  readonly occupied: readonly Cidr[];
}

/** The gateway bridge's address: the first of its subnet. */
export function chooseGateway({ wanted, sandboxes, present, occupied }: GatewayFacts): InterfaceAddress {
  if (sandboxes[0]) return firstOf(parseCidr(sandboxes[0]));
  if (present) return present;
  const subnet = [wanted, ...FALLBACKS].find((s) => !occupied.some((o) => overlaps(s, o)));
  if (!subnet)
    throw new SkeinError(
      'resource-exhausted',
      'every subnet for the gateway bridge overlaps a route of this node',
    );
  return firstOf(subnet);
}

const firstOf = (subnet: Cidr): InterfaceAddress =>
  interfaceAddress(intToIp(range(subnet).first + 1), prefixLength(subnet));
