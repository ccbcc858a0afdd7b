/**
 * The kernel's packet filter for a capture, as classic BPF: TCP and UDP over IPv4 by port, plain or inside VXLAN, so
 * that a busy node copies only what the trace asks for. Pure; the interpreter in the tests is what defines it.
 */
import { maskOf, parseCidr, prefixLength, range } from '../kit/cidr.ts';

export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

/** All of what is given must hold; nothing given: any TCP or UDP packet. */
export interface CaptureRule {
  /** Source or destination lies in one of these: addresses, or subnets as `10.0.0.0/8`. */
  readonly hosts?: readonly string[];
  /** Source or destination port. */
  readonly ports?: readonly number[];
}

export interface CaptureFilter {
  /** A packet is kept when one of these holds for it, or for the packet that it carries; none: every packet. */
  readonly any?: readonly CaptureRule[];
  readonly vxlanPort?: number;
  /** ICMP too, whatever the rules say. */
  readonly icmp?: boolean;
}

/** Bytes kept of each packet: enough for VXLAN and two sets of headers with options. */
export const SNAP_LENGTH = 512;
export const VXLAN_PORT = 4789;
/** Ethernet, IPv4 without options, UDP, VXLAN. */
const VXLAN_OFFSET = 14 + 20 + 8 + 8;

const LD_W = 0x20;
const LD_H = 0x28;
const LD_B = 0x30;
const LD_H_X = 0x48;
const LDX_IP_LENGTH = 0xb1;
const AND = 0x54;
const JEQ = 0x15;
const JSET = 0x45;
const JA = 0x05;
const RET = 0x06;

/** A conditional jump only skips the long jump behind it, so that no list is too long for its 8 bits. */
type Line =
  | { readonly label: string }
  | { readonly jump: string }
  | { readonly code: number; readonly k: number; readonly skip?: 'if true' | 'if false' };

const load = (code: number, k: number): Line => ({ code, k });
const ifEqual = (k: number, jump: string): Line[] => [{ code: JEQ, k, skip: 'if false' }, { jump }];
const ifNotEqual = (k: number, jump: string): Line[] => [{ code: JEQ, k, skip: 'if true' }, { jump }];
const ifSet = (k: number, jump: string): Line[] => [{ code: JSET, k, skip: 'if false' }, { jump }];

export function compileFilter(filter: CaptureFilter): readonly Instruction[] {
  const { any = [{}], vxlanPort = VXLAN_PORT, icmp = false } = filter;
  return assemble([
    load(LD_H, 12),
    ...ifNotEqual(0x0800, 'drop'),
    ...anyOf(any, 0, icmp),
    load(LD_B, 23),
    ...ifNotEqual(17, 'drop'),
    load(LD_H, 20),
    ...ifSet(0x1fff, 'drop'),
    load(LD_H, 36),
    ...ifNotEqual(vxlanPort, 'drop'),
    load(LD_H, VXLAN_OFFSET + 12),
    ...ifNotEqual(0x0800, 'drop'),
    ...anyOf(any, VXLAN_OFFSET, icmp),
    { label: 'drop' },
    load(RET, 0),
    { label: 'accept' },
    load(RET, SNAP_LENGTH),
  ]);
}

/** The rules for the frame at `offset`; falls through when none holds. */
const anyOf = (rules: readonly CaptureRule[], offset: number, icmp: boolean): Line[] => [
  load(LD_B, offset + 23),
  ...(icmp ? ifEqual(1, 'accept') : []),
  ...ifEqual(6, `ported-${offset}`),
  ...ifNotEqual(17, `none-${offset}`),
  { label: `ported-${offset}` },
  load(LD_H, offset + 20),
  ...ifSet(0x1fff, `none-${offset}`),
  ...rules.flatMap((rule, index) => matchRule(rule, offset, `rule-${offset}-${index}`)),
  { label: `none-${offset}` },
];

function matchRule({ hosts, ports }: CaptureRule, offset: number, name: string): Line[] {
  const [here, next] = [`${name}-hosts`, `${name}-next`];
  return [
    ...(hosts ? [...matchHosts(hosts, offset, here), { jump: next }, { label: here }] : []),
    ...(ports ? [...matchPorts(ports, offset), { jump: next }] : [{ jump: 'accept' }]),
    { label: next },
  ];
}

function matchHosts(hosts: readonly string[], offset: number, yes: string): Line[] {
  const subnets = hosts.map((host) => parseCidr(host.includes('/') ? host : `${host}/32`));
  return [26, 30].flatMap((at) => [
    load(LD_W, offset + at),
    ...subnets.flatMap((subnet): Line[] => {
      const { first } = range(subnet);
      const length = prefixLength(subnet);
      if (length === 32) return ifEqual(first, yes);
      return [load(AND, maskOf(length)), ...ifEqual(first, yes), load(LD_W, offset + at)];
    }),
  ]);
}

function matchPorts(ports: readonly number[], offset: number): Line[] {
  const compare = ports.flatMap((port) => ifEqual(port, 'accept'));
  return [
    load(LDX_IP_LENGTH, offset + 14),
    ...[14, 16].flatMap((at) => [load(LD_H_X, offset + at), ...compare]),
  ];
}

function assemble(lines: readonly Line[]): readonly Instruction[] {
  const at = new Map<string, number>();
  const instructions: Exclude<Line, { readonly label: string }>[] = [];
  for (const line of lines) {
    if ('label' in line) at.set(line.label, instructions.length);
    else instructions.push(line);
  }
  return instructions.map((line, index) => {
    if ('jump' in line) return { code: JA, jt: 0, jf: 0, k: at.get(line.jump)! - index - 1 };
    const { code, k, skip } = line;
    return { code, jt: skip === 'if true' ? 1 : 0, jf: skip === 'if false' ? 1 : 0, k };
  });
}

/** `struct sock_filter[]`, as setsockopt takes it. */
export function encodeFilter(program: readonly Instruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(({ code, jt, jf, k }, index) => {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jt, index * 8 + 2);
    bytes.writeUInt8(jf, index * 8 + 3);
    bytes.writeUInt32LE(k >>> 0, index * 8 + 4);
  });
  return bytes;
}
