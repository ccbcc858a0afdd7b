/** The IPv4 addresses of this machine (of this network namespace), for address.ts to choose from. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { parseIpv4 } from '../kit/cidr.ts';
import type { Ipv4 } from '../model/ids.ts';
import { type LocalAddress, splitHostPort } from './address.ts';

export function localAddresses(): LocalAddress[] {
  const found: LocalAddress[] = [];
  for (const [link, addresses] of Object.entries(networkInterfaces()))
    for (const { family, address } of addresses ?? [])
      if (family === 'IPv4') found.push({ link, address: parseIpv4(address) });
  return found;
}

/** Which of them the first of these hosts (`HOST:PORT`) that can be reached sees, as the kernel routes: nothing is sent. */
export async function addressTowards(hosts: readonly string[]): Promise<Ipv4 | undefined> {
  for (const text of hosts) {
    const socket = createSocket('udp4');
    try {
      const { host, port } = splitHostPort(text);
      socket.connect(port, host);
      await once(socket, 'connect');
      return parseIpv4(socket.address().address);
    } catch {
      continue; // no such name, or no way there
    } finally {
      socket.close();
    }
  }
  return undefined;
}
