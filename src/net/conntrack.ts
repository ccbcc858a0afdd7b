/** Connection tracking, as far as the mesh must change it and a trace asks it. */
import {
  attr,
  attributes,
  ENOENT,
  ipBytes,
  type Message,
  type NetlinkSocket,
  readIp,
  u16be,
  u32be,
  u8,
} from './netlink.ts';
import { head, NFPROTO_IPV4, protocolNumber } from './nfnetlink.ts';

const SUBSYSTEM_CONNTRACK = 1;
const CT_GET = 1;
const CT_DELETE = 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_STATUS = 3;
const CTA_STATUS_MASK = 26;
/** Something came back. */
const IPS_SEEN_REPLY = 1 << 1;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;

/** One direction of a connection. */
export interface Tuple {
  readonly protocol: 'tcp' | 'udp';
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/**
 * The tuple that a connection began with, from the one that its answers come by; undefined where the kernel knows
 * none. One look-up in its hash table, however many connections there are.
 */
export function originalOf(socket: NetlinkSocket, reply: Tuple): Tuple | undefined {
  const found = socket.find(
    (SUBSYSTEM_CONNTRACK << 8) | CT_GET,
    Buffer.concat([head(NFPROTO_IPV4), tupleAttribute(CTA_TUPLE_REPLY, reply)]),
    'look up a connection',
  );
  const original = found && attributes(found.body, 4).get(CTA_TUPLE_ORIG);
  return original && readTuple(original, reply.protocol);
}

/** Every connection that the socket's namespace remembers. */
export const forgetAll = (socket: NetlinkSocket): void =>
  socket.request([
    {
      type: (SUBSYSTEM_CONNTRACK << 8) | CT_DELETE,
      flags: 0,
      body: head(NFPROTO_IPV4),
      what: 'forget all connections',
    },
  ]);

const tupleAttribute = (kind: number, tuple: Tuple): Buffer =>
  attr(kind, [
    attr(CTA_TUPLE_IP, [
      attr(CTA_IP_V4_SRC, ipBytes(tuple.source)),
      attr(CTA_IP_V4_DST, ipBytes(tuple.destination)),
    ]),
    attr(CTA_TUPLE_PROTO, [
      attr(CTA_PROTO_NUM, u8(protocolNumber[tuple.protocol])),
      attr(CTA_PROTO_SRC_PORT, u16be(tuple.sourcePort)),
      attr(CTA_PROTO_DST_PORT, u16be(tuple.destinationPort)),
    ]),
  ]);

function readTuple(tuple: Buffer, protocol: Tuple['protocol']): Tuple | undefined {
  const parts = attributes(tuple);
  const ip = attributes(parts.get(CTA_TUPLE_IP) ?? Buffer.alloc(0));
  const ports = attributes(parts.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  const [source, destination] = [ip.get(CTA_IP_V4_SRC), ip.get(CTA_IP_V4_DST)];
  const [from, to] = [ports.get(CTA_PROTO_SRC_PORT), ports.get(CTA_PROTO_DST_PORT)];
  if (!source || !destination || !from || !to) return undefined;
  return {
    protocol,
    source: readIp(source),
    sourcePort: from.readUInt16BE(),
    destination: readIp(destination),
    destinationPort: to.readUInt16BE(),
  };
}

/**
 * Forgets the UDP flows that were translated to `address:port`, or to `address` whatever the port: without a handshake
 * the kernel would send the rest of a flow to a backend that is gone until the flow is silent for its whole timeout.
 *
 * Cost: one pass over the node's connection table, only when a UDP backend leaves.
 */
export function forgetUdp(socket: NetlinkSocket, backends: ReadonlySet<string>): number {
  return forget(socket, 'udp', backends, head(NFPROTO_IPV4));
}

/**
 * Forgets the TCP connections to these backends that nothing has come back for yet: the client's next SYN is
 * translated anew, to a backend that is there. Those that were answered keep theirs.
 *
 * Cost: one pass of the kernel over its table; only what is unanswered is read.
 */
export function forgetUnanswered(socket: NetlinkSocket, backends: ReadonlySet<string>): number {
  const unanswered = [attr(CTA_STATUS, u32be(0)), attr(CTA_STATUS_MASK, u32be(IPS_SEEN_REPLY))];
  return forget(socket, 'tcp', backends, Buffer.concat([head(NFPROTO_IPV4), ...unanswered]));
}

function forget(
  socket: NetlinkSocket,
  protocol: 'tcp' | 'udp',
  backends: ReadonlySet<string>,
  which: Buffer,
): number {
  const doomed: Message[] = [];
  for (const { body } of socket.dump((SUBSYSTEM_CONNTRACK << 8) | CT_GET, which, 'list conntrack')) {
    const found = attributes(body, 4);
    const reply = tupleSource(found.get(CTA_TUPLE_REPLY));
    if (reply?.protocol !== protocolNumber[protocol]) continue;
    const { address, port } = reply;
    if (!backends.has(`${address}:${port}`) && !backends.has(address)) continue;
    doomed.push({
      type: (SUBSYSTEM_CONNTRACK << 8) | CT_DELETE,
      flags: 0,
      what: `forget the ${protocol} flow to ${address}:${port}`,
      ignore: [ENOENT],
      body: Buffer.concat([head(NFPROTO_IPV4), attr(CTA_TUPLE_ORIG | 0x8000, found.get(CTA_TUPLE_ORIG)!)]),
    });
  }
  socket.request(doomed);
  return doomed.length;
}

function tupleSource(
  tuple: Buffer | undefined,
): { protocol: number; address: string; port: number } | undefined {
  if (!tuple) return undefined;
  const parts = attributes(tuple);
  const ip = attributes(parts.get(CTA_TUPLE_IP) ?? Buffer.alloc(0)).get(CTA_IP_V4_SRC);
  const protocol = attributes(parts.get(CTA_TUPLE_PROTO) ?? Buffer.alloc(0));
  const port = protocol.get(CTA_PROTO_SRC_PORT);
  if (!ip || !port) return undefined;
  const number = protocol.get(CTA_PROTO_NUM)?.[0] ?? 0;
  return { protocol: number, address: readIp(ip), port: port.readUInt16BE() };
}
