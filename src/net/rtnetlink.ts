/** Links, addresses, neighbours, FDB entries and routes as the rtnetlink messages that make, change and remove them. */
import type { Ipv4, Mac } from '../model/ids.ts';
import {
  attr,
  type AttributeValue,
  EADDRNOTAVAIL,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ESRCH,
  ipBytes,
  macBytes,
  type Message,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  text,
  u16be,
  u32,
  u8,
} from './netlink.ts';
import {
  AF_INET,
  AF_BRIDGE,
  RTM_NEWLINK,
  RTM_DELLINK,
  RTM_NEWADDR,
  RTM_DELADDR,
  RTM_NEWROUTE,
  RTM_DELROUTE,
  RTM_NEWRULE,
  RTM_DELRULE,
  RTM_NEWNEIGH,
  RTM_DELNEIGH,
  IFF_UP,
  IFLA_ADDRESS,
  IFLA_IFNAME,
  IFLA_MTU,
  IFLA_MASTER,
  IFLA_LINKINFO,
  IFLA_NET_NS_FD,
  IFLA_INFO_KIND,
  IFLA_INFO_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_INFO_SLAVE_DATA,
  VETH_INFO_PEER,
  IFLA_VXLAN_ID,
  IFLA_VXLAN_LOCAL,
  IFLA_VXLAN_LEARNING,
  IFLA_VXLAN_PROXY,
  IFLA_VXLAN_PORT,
  IFLA_BRPORT_LEARNING,
  IFLA_BRPORT_UNICAST_FLOOD,
  IFLA_BRPORT_ISOLATED,
  IFLA_BR_MCAST_SNOOPING,
  NTF_SELF,
  NTF_MASTER,
  NUD_NOARP,
  NUD_PERMANENT,
  NDA_DST,
  NDA_LLADDR,
} from './rtnetlink-numbers.ts';
import type { DefaultRoute, PortFlags } from './state.ts';

/** A link as a message names it. `netnsFd`: where it is made, when not in the socket's own namespace. */
export interface LinkMessage {
  readonly name: string;
  readonly netnsFd?: number;
  readonly mac?: Mac;
  readonly mtu?: number;
  /** Index of the bridge, 0 for none. */
  readonly master?: number;
  readonly up?: boolean;
}

export function ifinfo(index: number, up: boolean | undefined, family = 0): Buffer {
  const out = Buffer.alloc(16);
  out.writeUInt8(family, 0);
  out.writeInt32LE(index, 4);
  out.writeUInt32LE(up ? IFF_UP : 0, 8);
  out.writeUInt32LE(up === undefined ? 0 : IFF_UP, 12);
  return out;
}

/** Of a link that is made. */
const namedAttributes = (link: LinkMessage): Buffer[] => [
  attr(IFLA_IFNAME, text(link.name)),
  ...linkAttributes(link),
];

function linkAttributes(link: LinkMessage): Buffer[] {
  return [
    ...(link.mac ? [attr(IFLA_ADDRESS, macBytes(link.mac))] : []),
    ...(link.mtu ? [attr(IFLA_MTU, u32(link.mtu))] : []),
    ...(link.netnsFd === undefined ? [] : [attr(IFLA_NET_NS_FD, u32(link.netnsFd))]),
    ...(link.master === undefined ? [] : [attr(IFLA_MASTER, u32(link.master))]),
  ];
}

function newLink(link: LinkMessage, kind: string, data: AttributeValue): Message {
  const info = [attr(IFLA_INFO_KIND, text(kind)), attr(IFLA_INFO_DATA, data)];
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    what: `add ${kind} ${link.name}`,
    body: Buffer.concat([ifinfo(0, link.up), ...namedAttributes(link), attr(IFLA_LINKINFO, info)]),
  };
}

export const addBridge = (link: LinkMessage): Message =>
  newLink(link, 'bridge', [attr(IFLA_BR_MCAST_SNOOPING, u8(0))]);

/**
 * To be sent where the link itself goes: a kernel before 6.15 looks there for the name, so that a container's eth0 could
 * not be made in a namespace with an eth0 of its own, such as a host's.
 */
export const addVeth = (link: LinkMessage, peer: LinkMessage): Message =>
  newLink(link, 'veth', [
    attr(VETH_INFO_PEER, Buffer.concat([ifinfo(0, peer.up), ...namedAttributes(peer)])),
  ]);

/** Made by a socket of the root namespace, so the underlay socket is there, wherever the link itself goes. */
export const addVxlan = (
  link: LinkMessage,
  vxlan: { readonly vni: number; readonly local: Ipv4; readonly port: number },
): Message =>
  newLink(link, 'vxlan', [
    attr(IFLA_VXLAN_ID, u32(vxlan.vni)),
    attr(IFLA_VXLAN_LOCAL, ipBytes(vxlan.local)),
    attr(IFLA_VXLAN_PORT, u16be(vxlan.port)),
    attr(IFLA_VXLAN_LEARNING, u8(0)),
    attr(IFLA_VXLAN_PROXY, u8(1)),
  ]);

/** Without the name: a kernel before 6.2 takes it for a new one, which a link that is up is refused, be it the same. */
export const setLink = (index: number, link: LinkMessage): Message => ({
  type: RTM_NEWLINK,
  flags: 0,
  what: `change link ${link.name}`,
  body: Buffer.concat([ifinfo(index, link.up), ...linkAttributes(link)]),
});

export const setPort = (index: number, name: string, port: PortFlags): Message => ({
  type: RTM_NEWLINK,
  flags: 0,
  what: `change bridge port ${name}`,
  body: Buffer.concat([
    ifinfo(index, undefined),
    attr(IFLA_LINKINFO, [
      attr(IFLA_INFO_SLAVE_KIND, text('bridge')),
      attr(IFLA_INFO_SLAVE_DATA, [
        attr(IFLA_BRPORT_LEARNING, u8(Number(port.learning))),
        attr(IFLA_BRPORT_UNICAST_FLOOD, u8(Number(port.flood))),
        attr(IFLA_BRPORT_ISOLATED, u8(Number(port.isolated))),
      ]),
    ]),
  ]),
});

export const deleteLink = (index: number, name: string): Message => ({
  type: RTM_DELLINK,
  flags: 0,
  what: `delete link ${name}`,
  ignore: [ENODEV],
  body: ifinfo(index, undefined),
});

function addressBody(index: number, ip: Ipv4, length: number): Buffer {
  const head = Buffer.from([AF_INET, length, 0, 0]);
  const IFA_ADDRESS = 1;
  const IFA_LOCAL = 2;
  const IFA_BROADCAST = 4;
  const value = ipBytes(ip);
  const broadcast = Buffer.from(value);
  broadcast.writeUInt32BE(
    (value.readUInt32BE() | (length === 0 ? 0xffffffff : 2 ** (32 - length) - 1)) >>> 0,
  );
  return Buffer.concat([
    head,
    u32(index),
    attr(IFA_LOCAL, value),
    attr(IFA_ADDRESS, value),
    ...(length < 31 ? [attr(IFA_BROADCAST, broadcast)] : []),
  ]);
}

export const addAddress = (index: number, name: string, ip: Ipv4, length: number): Message => ({
  type: RTM_NEWADDR,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `add address ${ip}/${length} to ${name}`,
  body: addressBody(index, ip, length),
});

export const deleteAddress = (index: number, name: string, ip: Ipv4, length: number): Message => ({
  type: RTM_DELADDR,
  flags: 0,
  what: `delete address ${ip}/${length} of ${name}`,
  ignore: [EADDRNOTAVAIL, ENODEV],
  body: addressBody(index, ip, length),
});

export function neighbourHead(family: number, index: number, state: number, flags: number): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt8(family, 0);
  head.writeInt32LE(index, 4);
  head.writeUInt16LE(state, 8);
  head.writeUInt8(flags, 10);
  return head;
}

export const setNeighbour = (index: number, name: string, ip: Ipv4, mac: Mac): Message => ({
  type: RTM_NEWNEIGH,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `set neighbour ${ip} on ${name}`,
  body: Buffer.concat([
    neighbourHead(AF_INET, index, NUD_PERMANENT, 0),
    attr(NDA_DST, ipBytes(ip)),
    attr(NDA_LLADDR, macBytes(mac)),
  ]),
});

export const deleteNeighbour = (index: number, name: string, ip: Ipv4): Message => ({
  type: RTM_DELNEIGH,
  flags: 0,
  what: `delete neighbour ${ip} on ${name}`,
  ignore: [ENOENT, ENODEV],
  body: Buffer.concat([neighbourHead(AF_INET, index, 0, 0), attr(NDA_DST, ipBytes(ip))]),
});

/** `vtep` given: entry of the VXLAN device itself, one of several with `append`; else a static one of its bridge. */
export function setFdb(
  index: number,
  name: string,
  mac: Mac,
  vtep: Ipv4 | undefined,
  append: boolean,
): Message {
  return {
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | (append ? NLM_F_APPEND : NLM_F_REPLACE),
    what: `set FDB entry ${mac} on ${name}`,
    ignore: append ? [EEXIST] : [],
    body: fdbBody(index, mac, vtep),
  };
}

export const deleteFdb = (index: number, name: string, mac: Mac, vtep: Ipv4 | undefined): Message => ({
  type: RTM_DELNEIGH,
  flags: 0,
  what: `delete FDB entry ${mac} on ${name}`,
  ignore: [ENOENT, ENODEV],
  body: fdbBody(index, mac, vtep),
});

const fdbBody = (index: number, mac: Mac, vtep: Ipv4 | undefined): Buffer =>
  Buffer.concat([
    vtep
      ? neighbourHead(AF_BRIDGE, index, NUD_PERMANENT, NTF_SELF)
      : neighbourHead(AF_BRIDGE, index, NUD_NOARP, NTF_MASTER),
    attr(NDA_LLADDR, macBytes(mac)),
    ...(vtep ? [attr(NDA_DST, ipBytes(vtep))] : []),
  ]);

const [TABLE_MAIN, PROTOCOL_STATIC, UNICAST, TO_TABLE] = [254, 4, 1, 1];

/** `table` undefined: the main one; `source`: what a socket without an address of its own is given. */
type RouteTarget = Pick<DefaultRoute, 'via' | 'table' | 'source'>;

function routeBody(index: number, { via, table, source }: RouteTarget): Buffer {
  const [RTA_OIF, RTA_GATEWAY, RTA_PREFSRC, RTA_TABLE] = [4, 5, 7, 15];
  const head = Buffer.from([
    AF_INET,
    0,
    0,
    0,
    table ? 0 : TABLE_MAIN,
    PROTOCOL_STATIC,
    0,
    UNICAST,
    0,
    0,
    0,
    0,
  ]);
  return Buffer.concat([
    head,
    attr(RTA_OIF, u32(index)),
    attr(RTA_GATEWAY, ipBytes(via)),
    ...(source ? [attr(RTA_PREFSRC, ipBytes(source))] : []),
    ...(table ? [attr(RTA_TABLE, u32(table))] : []),
  ]);
}

export const setDefaultRoute = (index: number, name: string, target: RouteTarget): Message => ({
  type: RTM_NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  what: `route by ${target.via} on ${name}`,
  body: routeBody(index, target),
});

export const deleteDefaultRoute = (index: number, name: string, target: RouteTarget): Message => ({
  type: RTM_DELROUTE,
  flags: 0,
  what: `delete the route by ${target.via} on ${name}`,
  ignore: [ESRCH, ENODEV, EINVAL],
  body: routeBody(index, target),
});

function markRuleBody(mark: number): Buffer {
  const [FRA_PRIORITY, FRA_FWMARK, FRA_TABLE] = [6, 10, 15];
  const head = Buffer.from([AF_INET, 0, 0, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]);
  return Buffer.concat([
    head,
    attr(FRA_PRIORITY, u32(MARK_RULE_PRIORITY)),
    attr(FRA_FWMARK, u32(mark)),
    attr(FRA_TABLE, u32(mark)),
  ]);
}

/** Before the main table (32766), behind whatever a container sets for itself with the defaults. */
const MARK_RULE_PRIORITY = 32_000;

export const addMarkRule = (mark: number): Message => ({
  type: RTM_NEWRULE,
  flags: NLM_F_CREATE | NLM_F_EXCL,
  what: `rule for mark ${mark}`,
  ignore: [EEXIST],
  body: markRuleBody(mark),
});

export const deleteMarkRule = (mark: number): Message => ({
  type: RTM_DELRULE,
  flags: 0,
  what: `delete the rule for mark ${mark}`,
  ignore: [ENOENT],
  body: markRuleBody(mark),
});
