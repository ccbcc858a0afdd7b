/** What is chosen on this node for a new sandbox: its address on the gateway bridge and its open host ports. Pure. */
import {
  addressOf,
  interfaceAddress,
  intToIp,
  ipToInt,
  parseCidr,
  prefixLength,
  range,
} from '../kit/cidr.ts';
import { type ErrorCode, SkeinError } from '../model/errors.ts';
import type { InterfaceAddress, Ipv4, ServiceId } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { HostPort, PortSpec } from '../model/spec.ts';
import { hostPortKey, portKey } from './nft-state.ts';
import type { SandboxSpec } from './network.ts';
import type { LinkNumbers, SandboxRecord } from './plan.ts';

/** Linux's default range of ephemeral ports, from which Docker takes host ports that were left open. */
const EPHEMERAL = { first: 32768, last: 60999 };

export interface SandboxContext {
  readonly view: NetworkView | undefined;
  readonly others: readonly SandboxRecord[];
  /** What an earlier attach of the same id chose: kept. */
  readonly before: SandboxRecord | undefined;
  readonly gateway: InterfaceAddress;
  /** Addresses of the gateway subnet that the kernel knows as taken, beside those of `others`. */
  readonly taken: ReadonlySet<Ipv4>;
  /** Ports of this node that other programs have (`hostPortKey`). */
  readonly foreign: ReadonlySet<string>;
}

export function planRecord(spec: SandboxSpec, context: SandboxContext): SandboxRecord {
  const { view } = context;
  if (!view) throw new SkeinError('failed-precondition', 'the node has no network view yet');
  for (const { networkId } of spec.attachments)
    if (!view.networks.has(networkId))
      throw new SkeinError('failed-precondition', `network ${networkId} is not in this node's network view`);
  if (spec.internal && spec.hostPorts.length > 0)
    throw new SkeinError('invalid-argument', 'host ports need a network that is not internal');
  const record = {
    spec,
    gateway: spec.internal ? undefined : (context.before?.gateway ?? freeAddress(context)),
    hostPorts: hostPorts(spec, context),
    links: linkNumbers(spec, context.before),
    keepsClients: context.before?.keepsClients ?? false,
  };
  return underView(record, view);
}

/** A service of this view keeps its clients' addresses. */
export const keepsClients = ({ services }: NetworkView, id: ServiceId | undefined): boolean =>
  id !== undefined && (services.get(id)?.preserveClientIp ?? false);

/** The record as it is under another view: the same one where that says nothing new. */
export const underView = (record: SandboxRecord, view: NetworkView): SandboxRecord =>
  record.keepsClients || !keepsClients(view, record.spec.serviceId)
    ? record
    : { ...record, keepsClients: true };

/** A network that comes takes the lowest number that is free; the gateway link comes last, the first time. */
export function linkNumbers(spec: SandboxSpec, before: SandboxRecord | undefined): LinkNumbers {
  const kept = new Map(before?.spec.attachments.map((a, i) => [a.networkId, before.links.networks[i]!]));
  const gateway = before?.gateway && before.links.gateway;
  const used = new Set(gateway === undefined ? [] : [gateway]);
  for (const { networkId } of spec.attachments) if (kept.has(networkId)) used.add(kept.get(networkId)!);
  const next = (): number => {
    let n = 0;
    while (used.has(n)) n++;
    used.add(n);
    return n;
  };
  const networks = spec.attachments.map(({ networkId }) => kept.get(networkId) ?? next());
  return { networks, gateway: gateway ?? next() };
}

function freeAddress({ gateway, others, taken }: SandboxContext): InterfaceAddress {
  const used = new Set<number>([ipToInt(addressOf(gateway)), ...[...taken].map(ipToInt)]);
  for (const { gateway: address } of others) if (address) used.add(ipToInt(addressOf(address)));
  const { first, last } = range(parseCidr(gateway));
  for (let n = first + 1; n < last; n++)
    if (!used.has(n)) return interfaceAddress(intToIp(n), prefixLength(gateway));
  throw new SkeinError('resource-exhausted', `no address is left on the gateway bridge (${gateway})`);
}

function hostPorts({ hostPorts: wanted }: SandboxSpec, context: SandboxContext): HostPort[] {
  const { view, others, before, foreign } = context;
  if (wanted.length === 0) return [];
  const holders: Holders = new Map();
  for (const { hostPorts: ports } of others)
    for (const port of ports) note(holders, port, 'another container');
  for (const { name, ingressPorts } of view!.services.values())
    for (const port of ingressPorts) if (port.PublishedPort) note(holders, port, `service ${name}`);
  return wanted.map((port) => {
    const { HostIp, Protocol, TargetPort } = port;
    const earlier = before?.hostPorts.find(
      (p) => p.TargetPort === TargetPort && p.Protocol === Protocol && p.HostIp === HostIp,
    );
    const published = port.PublishedPort || earlier?.PublishedPort || freePort(port, holders, foreign);
    const bound = { ...port, PublishedPort: published };
    const holder = holderOf(bound, holders);
    if (holder)
      throw new SkeinError(
        'already-exists',
        `Bind for ${holder.at ?? ANY_ADDRESS}:${published} failed: port is already allocated (${Protocol}, by ${holder.who})`,
      );
    note(holders, bound, 'this container');
    return bound;
  });
}

const ANY_ADDRESS = '0.0.0.0';

const WHY: Partial<Record<ErrorCode, string>> = {
  'already-exists': 'address already in use',
  'not-found': 'cannot assign requested address',
};

/** In Docker's words: the kernel does not give this port to the sandbox. */
export function bindError(port: HostPort, { gateway }: SandboxRecord, cause: unknown): SkeinError {
  const { code, message } = SkeinError.from(cause);
  const from = `${port.HostIp ?? ANY_ADDRESS}:${port.PublishedPort}`;
  const to = `${addressOf(gateway!)}:${port.TargetPort}/${port.Protocol}`;
  return new SkeinError(
    code === 'already-exists' ? code : 'failed-precondition',
    `failed to bind host port for ${from}:${to}: ${WHY[code] ?? message}`,
    { cause },
  );
}

/** Who has a port of this node. */
interface Holder {
  /** At that address alone; undefined: at all. */
  readonly at: Ipv4 | undefined;
  readonly who: string;
}

/** By port, of which each address may have another. */
type Holders = Map<string, Holder[]>;

const keyOf = ({ Protocol, PublishedPort }: PortSpec): string =>
  portKey({ protocol: Protocol, port: PublishedPort! });

function note(holders: Holders, port: HostPort, who: string): void {
  const key = keyOf(port);
  holders.set(key, [...(holders.get(key) ?? []), { at: port.HostIp, who }]);
}

/** A port of all addresses leaves none for one, and the other way round. */
const holderOf = (port: HostPort, holders: Holders): Holder | undefined =>
  holders.get(keyOf(port))?.find(({ at }) => !at || !port.HostIp || at === port.HostIp);

function freePort(open: HostPort, holders: Holders, foreign: ReadonlySet<string>): number {
  for (let n = EPHEMERAL.first; n <= EPHEMERAL.last; n++) {
    const port = { ...open, PublishedPort: n };
    if (!holderOf(port, holders) && !foreign.has(hostPortKey(port))) return n;
  }
  throw new SkeinError('resource-exhausted', `no ${open.Protocol} host port is left`);
}
