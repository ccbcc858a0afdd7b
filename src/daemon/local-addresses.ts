/** The IPv4 addresses of this machine (of this network namespace), for address.ts to choose from. */
import { networkInterfaces } from 'node:os';
import { parseIpv4 } from '../kit/cidr.ts';
import type { LocalAddress } from './address.ts';

export function localAddresses(): LocalAddress[] {
  const found: LocalAddress[] = [];
  for (const [link, addresses] of Object.entries(networkInterfaces()))
    for (const { family, address } of addresses ?? [])
      if (family === 'IPv4') found.push({ link, address: parseIpv4(address) });
  return found;
}
