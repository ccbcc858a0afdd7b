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
import { SkeinError } from '../model/errors.ts';
import type { InterfaceAddress, Ipv4 } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { PortSpec } from '../model/spec.ts';
import { portKey } from './nft-state.ts';
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
}

export function planRecord(spec: SandboxSpec, context: SandboxContext): SandboxRecord {
  const { view } = context;
  if (!view) throw new SkeinError('failed-precondition', 'the node has no network view yet');
  for (const { networkId } of spec.attachments)
    if (!view.networks.has(networkId))
      throw new SkeinError('failed-precondition', `network ${networkId} is not in this node's network view`);
  if (spec.internal && spec.hostPorts.length > 0)
    throw new SkeinError('invalid-argument', 'host ports need a network that is not internal');
  return {
    spec,
    gateway: spec.internal ? undefined : (context.before?.gateway ?? freeAddress(context)),
    hostPorts: hostPorts(spec, context),
    links: linkNumbers(spec, context.before),
  };
}

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

function hostPorts(spec: SandboxSpec, { view, others, before }: SandboxContext): PortSpec[] {
  if (spec.hostPorts.length === 0) return [];
  const holders = new Map<string, string>();
  for (const other of others)
    for (const port of other.hostPorts)
      holders.set(portKey({ protocol: port.Protocol, port: port.PublishedPort! }), 'another container');
  for (const service of view!.services.values())
    for (const port of service.ingressPorts)
      if (port.PublishedPort)
        holders.set(
          portKey({ protocol: port.Protocol, port: port.PublishedPort }),
          `service ${service.name}`,
        );
  return spec.hostPorts.map((port) => {
    const earlier = before?.hostPorts.find(
      (p) => p.TargetPort === port.TargetPort && p.Protocol === port.Protocol,
    );
    const published = port.PublishedPort || earlier?.PublishedPort || freePort(port, holders);
    const key = portKey({ protocol: port.Protocol, port: published });
    const holder = holders.get(key);
    if (holder)
      throw new SkeinError(
        'already-exists',
        `Bind for 0.0.0.0:${published} failed: port is already allocated (${port.Protocol}, by ${holder})`,
      );
    holders.set(key, 'this container');
    return { ...port, PublishedPort: published };
  });
}

function freePort(port: PortSpec, holders: ReadonlyMap<string, string>): number {
  for (let n = EPHEMERAL.first; n <= EPHEMERAL.last; n++)
    if (!holders.has(portKey({ protocol: port.Protocol, port: n }))) return n;
  throw new SkeinError('resource-exhausted', `no ${port.Protocol} host port is left`);
}
