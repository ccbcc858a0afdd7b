/** Links, addresses, neighbours, FDB entries and routes as the kernel lists them. */
import type { Ipv4, Mac } from '../model/ids.ts';
import { attributes, type NetlinkSocket, readIp, readMac, readText } from './netlink.ts';
import {
  AF_INET,
  AF_BRIDGE,
  RTM_NEWLINK,
  RTM_GETLINK,
  RTM_GETADDR,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_GETNEIGH,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_MTU,
  IFLA_LINK,
  IFLA_MASTER,
  IFLA_LINKINFO,
  IFLA_INFO_KIND,
  IFLA_INFO_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_VXLAN_ID,
  IFLA_VXLAN_LOCAL,
  IFLA_VXLAN_LEARNING,
  IFLA_VXLAN_PROXY,
  IFLA_VXLAN_PORT,
  IFLA_BRPORT_LEARNING,
  IFLA_BRPORT_UNICAST_FLOOD,
  IFLA_BRPORT_ISOLATED,
  NUD_NOARP,
  NUD_FAILED,
  NUD_INCOMPLETE,
  NUD_PERMANENT,
  NDA_DST,
  NDA_LLADDR,
  NDA_MASTER,
} from './rtnetlink-numbers.ts';
import { ifinfo, neighbourHead } from './rtnetlink.ts';
import type { PortFlags } from './state.ts';

export interface ObservedLink {
  readonly index: number;
  readonly name: string;
  readonly mac: Mac;
  readonly mtu: number;
  readonly up: boolean;
  readonly master: number;
  readonly kind: string;
  /** Index of the peer (veth) or lower link, in the peer's namespace. */
  readonly link: number;
  readonly vxlan:
    | { readonly vni: number; readonly local: Ipv4; readonly port: number; readonly proxy: boolean }
    | undefined;
  readonly port: PortFlags | undefined;
}

const flag = (value: Buffer | undefined): boolean => (value?.[0] ?? 0) !== 0;

export function dumpLinks(socket: NetlinkSocket): ObservedLink[] {
  return socket
    .dump(RTM_GETLINK, ifinfo(0, undefined), 'list links')
    .filter(({ type }) => type === RTM_NEWLINK)
    .map(({ body }) => readLink(body));
}

function readLink(body: Buffer): ObservedLink {
  const found = attributes(body, 16);
  const info = attributes(found.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const kind = readText(info.get(IFLA_INFO_KIND) ?? Buffer.alloc(0));
  const slave = info.get(IFLA_INFO_SLAVE_DATA);
  return {
    index: body.readInt32LE(4),
    name: readText(found.get(IFLA_IFNAME)!),
    mac: readMac(found.get(IFLA_ADDRESS) ?? Buffer.alloc(0)) as Mac,
    mtu: found.get(IFLA_MTU)?.readUInt32LE() ?? 0,
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
    master: found.get(IFLA_MASTER)?.readUInt32LE() ?? 0,
    kind,
    link: found.get(IFLA_LINK)?.readUInt32LE() ?? 0,
    vxlan: kind === 'vxlan' ? readVxlan(info.get(IFLA_INFO_DATA)!) : undefined,
    port: slave && readText(info.get(IFLA_INFO_SLAVE_KIND)!) === 'bridge' ? readPort(slave) : undefined,
  };
}

function readVxlan(data: Buffer): ObservedLink['vxlan'] {
  const found = attributes(data);
  return {
    vni: found.get(IFLA_VXLAN_ID)?.readUInt32LE() ?? 0,
    local: readIp(found.get(IFLA_VXLAN_LOCAL) ?? Buffer.alloc(4)) as Ipv4,
    port: found.get(IFLA_VXLAN_PORT)?.readUInt16BE() ?? 0,
    proxy: flag(found.get(IFLA_VXLAN_PROXY)) && !flag(found.get(IFLA_VXLAN_LEARNING)),
  };
}

function readPort(data: Buffer): PortFlags {
  const found = attributes(data);
  return {
    learning: flag(found.get(IFLA_BRPORT_LEARNING)),
    flood: flag(found.get(IFLA_BRPORT_UNICAST_FLOOD)),
    isolated: flag(found.get(IFLA_BRPORT_ISOLATED)),
  };
}

export interface ObservedAddress {
  readonly index: number;
  readonly ip: Ipv4;
  readonly length: number;
}

export function dumpAddresses(socket: NetlinkSocket): ObservedAddress[] {
  const IFA_LOCAL = 2;
  return socket
    .dump(RTM_GETADDR, Buffer.from([AF_INET, 0, 0, 0, 0, 0, 0, 0]), 'list addresses')
    .map(({ body }) => ({
      index: body.readUInt32LE(4),
      length: body[1]!,
      ip: readIp(attributes(body, 8).get(IFA_LOCAL)!) as Ipv4,
    }));
}

export interface ObservedNeighbour {
  readonly index: number;
  readonly ip: Ipv4;
  readonly mac: Mac;
}

/** Permanent neighbours only: the others are the kernel's own. */
export function dumpNeighbours(socket: NetlinkSocket): ObservedNeighbour[] {
  return socket
    .dump(RTM_GETNEIGH, neighbourHead(AF_INET, 0, 0, 0), 'list neighbours')
    .filter(({ body }) => body.readUInt16LE(8) & NUD_PERMANENT)
    .map(({ body }) => {
      const found = attributes(body, 12);
      return {
        index: body.readInt32LE(4),
        ip: readIp(found.get(NDA_DST)!) as Ipv4,
        mac: readMac(found.get(NDA_LLADDR) ?? Buffer.alloc(0)) as Mac,
      };
    });
}

/** Links on which the kernel asks for the MAC of `ip` and has no answer. */
export const unresolved = (socket: NetlinkSocket, ip: Ipv4): number[] =>
  socket
    .dump(RTM_GETNEIGH, neighbourHead(AF_INET, 0, 0, 0), 'list neighbours')
    .filter(({ body }) => body.readUInt16LE(8) & (NUD_INCOMPLETE | NUD_FAILED))
    .filter(({ body }) => readIp(attributes(body, 12).get(NDA_DST)!) === ip)
    .map(({ body }) => body.readInt32LE(4));

export interface ObservedFdb {
  readonly index: number;
  readonly mac: Mac;
  readonly vtep: Ipv4 | undefined;
}

/** Entries that somebody set: VXLAN entries with a destination, and static ones of bridges. */
export function dumpFdb(socket: NetlinkSocket): ObservedFdb[] {
  const found: ObservedFdb[] = [];
  for (const { body } of socket.dump(RTM_GETNEIGH, neighbourHead(AF_BRIDGE, 0, 0, 0), 'list FDB')) {
    const values = attributes(body, 12);
    const vtep = values.get(NDA_DST);
    const isStatic = (body.readUInt16LE(8) & NUD_NOARP) !== 0;
    if (!vtep && !(values.has(NDA_MASTER) && isStatic)) continue;
    found.push({
      index: body.readInt32LE(4),
      mac: readMac(values.get(NDA_LLADDR)!) as Mac,
      vtep: vtep && (readIp(vtep) as Ipv4),
    });
  }
  return found;
}

export interface ObservedRoute {
  readonly destination: { readonly ip: Ipv4; readonly length: number };
  readonly via: Ipv4 | undefined;
  readonly index: number;
  /** undefined: the main table. */
  readonly table: number | undefined;
  readonly source: Ipv4 | undefined;
}

/** Unicast routes of all tables. */
export function dumpRoutes(socket: NetlinkSocket): ObservedRoute[] {
  const [RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE] = [1, 4, 5, 7, 15];
  const [MAIN, UNICAST] = [254, 1];
  const head = Buffer.alloc(12);
  head.writeUInt8(AF_INET, 0);
  return socket
    .dump(RTM_GETROUTE, head, 'list routes')
    .filter(({ body }) => body[7] === UNICAST)
    .map(({ body }) => {
      const found = attributes(body, 12);
      const via = found.get(RTA_GATEWAY);
      const source = found.get(RTA_PREFSRC);
      const table = found.get(RTA_TABLE)?.readUInt32LE() ?? body[4]!;
      return {
        destination: { ip: readIp(found.get(RTA_DST) ?? Buffer.alloc(4)) as Ipv4, length: body[1]! },
        via: via && (readIp(via) as Ipv4),
        index: found.get(RTA_OIF)?.readUInt32LE() ?? 0,
        table: table === MAIN ? undefined : table,
        source: source && (readIp(source) as Ipv4),
      };
    });
}

/** Rules that look at the mark alone. */
export function dumpMarkRules(socket: NetlinkSocket): { readonly mark: number; readonly table: number }[] {
  const [FRA_FWMARK, FRA_TABLE] = [10, 15];
  const head = Buffer.alloc(12);
  head.writeUInt8(AF_INET, 0);
  return socket.dump(RTM_GETRULE, head, 'list rules').flatMap(({ body }) => {
    const found = attributes(body, 12);
    const mark = found.get(FRA_FWMARK)?.readUInt32LE();
    return mark === undefined ? [] : [{ mark, table: found.get(FRA_TABLE)?.readUInt32LE() ?? body[4]! }];
  });
}
