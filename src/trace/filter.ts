/**
 * The kernel's packet filter for a capture, as classic BPF: TCP and UDP over IPv4 by port, plain or inside VXLAN, so
 * that a busy node copies only what the trace asks for. Pure; the interpreter in the tests is what defines it.
 */
export interface Instruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

export interface CaptureFilter {
  /** Source or destination port, of the packet or of the one it carries; none: every port. */
  readonly ports?: readonly number[];
  /** Source or destination address of the packet itself (what VXLAN carries is not asked); none: every address. */
  readonly hosts?: readonly string[];
  readonly vxlanPort?: number;
  /** ICMP too. */
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
const JEQ = 0x15;
const JSET = 0x45;
const JA = 0x05;
const RET = 0x06;

/** A jump names its target; offsets follow when all is laid out. `next` is the following instruction. */
interface Line {
  readonly label?: string;
  readonly code: number;
  readonly k: number;
  readonly yes?: string;
  readonly no?: string;
}

export function compileFilter(filter: CaptureFilter): readonly Instruction[] {
  const { ports = [], hosts = [], vxlanPort = VXLAN_PORT, icmp = false } = filter;
  const afterHosts = 'protocol';
  return assemble([
    ...ethernetIpv4(0, 'hosts', 'drop'),
    ...matchHosts(hosts, afterHosts, vxlanPort > 0 ? 'protocol-vxlan' : 'drop'),
    { label: 'protocol', code: LD_B, k: 23 },
    { code: JEQ, k: 6, yes: 'transport' },
    { code: JEQ, k: 17, yes: 'transport' },
    { code: JEQ, k: 1, yes: icmp ? 'accept' : 'drop', no: 'drop' },
    { label: 'transport', code: LD_H, k: 20 },
    { code: JSET, k: 0x1fff, yes: 'drop' },
    { code: LDX_IP_LENGTH, k: 14 },
    ...(ports.length === 0 ? [jump('accept')] : matchPorts(LD_H_X, 14, ports)),
    { label: 'protocol-vxlan', code: LD_B, k: 23 },
    { code: JEQ, k: 17, no: 'drop' },
    { code: LD_H, k: 36 },
    { code: JEQ, k: vxlanPort, no: 'drop' },
    ...ethernetIpv4(VXLAN_OFFSET, 'inner', 'drop'),
    { label: 'inner', code: LD_B, k: VXLAN_OFFSET + 23 },
    { code: JEQ, k: 1, yes: icmp ? 'accept' : 'drop' },
    { code: JEQ, k: 6, yes: 'inner-ports' },
    { code: JEQ, k: 17, no: 'drop' },
    { label: 'inner-ports', code: LD_H, k: VXLAN_OFFSET + 20 },
    { code: JSET, k: 0x1fff, yes: 'drop' },
    ...(ports.length === 0 ? [jump('accept')] : matchPorts(LD_H, VXLAN_OFFSET + 34, ports)),
    { label: 'drop', code: RET, k: 0 },
    { label: 'accept', code: RET, k: SNAP_LENGTH },
  ]);
}

const jump = (to: string): Line => ({ code: JA, k: 0, yes: to });

const ethernetIpv4 = (offset: number, yes: string, no: string): Line[] => [
  { code: LD_H, k: offset + 12 },
  { code: JEQ, k: 0x0800, yes, no },
];

function matchHosts(hosts: readonly string[], yes: string, no: string): Line[] {
  if (hosts.length === 0) return [{ label: 'hosts', ...jump(yes) }];
  const numbers = hosts.map((host) => host.split('.').reduce((n, part) => n * 256 + Number(part), 0));
  const compare = numbers.map((k): Line => ({ code: JEQ, k, yes }));
  return [{ label: 'hosts', code: LD_W, k: 26 }, ...compare, { code: LD_W, k: 30 }, ...compare, jump(no)];
}

/** Source port at `offset`, destination port behind it; falls through to what follows when neither matches. */
function matchPorts(load: number, offset: number, ports: readonly number[]): Line[] {
  const compare = ports.map((k): Line => ({ code: JEQ, k, yes: 'accept' }));
  return [{ code: load, k: offset }, ...compare, { code: load, k: offset + 2 }, ...compare];
}

function assemble(lines: readonly Line[]): readonly Instruction[] {
  const at = new Map(lines.flatMap((line, index) => (line.label ? [[line.label, index] as const] : [])));
  const distance = (from: number, label: string | undefined): number =>
    label === undefined ? 0 : at.get(label)! - from - 1;
  return lines.map(({ code, k, yes, no }, index) =>
    code === JA
      ? { code, jt: 0, jf: 0, k: distance(index, yes) }
      : { code, jt: distance(index, yes), jf: distance(index, no), k },
  );
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
