/** What the planners must know of this node itself, read from its root namespace. */
import { interfaceAddress, parseCidr } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { Cidr, InterfaceAddress, Ipv4, Mac } from '../model/ids.ts';
import { chooseGateway } from './gateway-plan.ts';
import { GATEWAY_LINK } from './link-names.ts';
import type { NetlinkSocket } from './netlink.ts';
import type { Facts } from './plan.ts';
import { dumpAddresses, dumpLinks, dumpRoutes } from './rtnetlink-read.ts';

export interface Uplink {
  readonly name: string;
  readonly mac: Mac;
  readonly mtu: number;
}

/** The link that carries `address`. */
export function readUplink(socket: NetlinkSocket, address: string): Uplink {
  const index = dumpAddresses(socket).find((a) => a.ip === address)?.index;
  const link = dumpLinks(socket).find((l) => l.index === index);
  if (!link) throw new SkeinError('not-found', `no link of this node has the address ${address}`);
  return { name: link.name, mac: link.mac, mtu: link.mtu };
}

export interface FactsContext {
  readonly vtep: Ipv4;
  readonly gatewaySubnet: Cidr;
  /** Gateway addresses of the sandboxes there are. */
  readonly gateways: readonly InterfaceAddress[];
  /** Subnets of the networks the node takes part in. */
  readonly subnets: readonly Cidr[];
}

export function readFacts(socket: NetlinkSocket, context: FactsContext): Facts {
  const bridge = dumpLinks(socket).find((l) => l.name === GATEWAY_LINK)?.index;
  const present = dumpAddresses(socket).find((a) => a.index === bridge);
  const routes = dumpRoutes(socket).filter(
    (r) => r.table === undefined && r.destination.length > 0 && r.index !== bridge,
  );
  return {
    uplinkMtu: readUplink(socket, context.vtep).mtu,
    vtep: context.vtep,
    gateway: chooseGateway({
      wanted: context.gatewaySubnet,
      sandboxes: context.gateways,
      present: present && interfaceAddress(present.ip, present.length),
      occupied: [
        ...routes.map((r) => parseCidr(`${r.destination.ip}/${r.destination.length}`)),
        ...context.subnets,
      ],
    }),
  };
}
