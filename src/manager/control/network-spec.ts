/** Whether an overlay network can be made, and whether one can go. */
import { contains, overlaps, parseCidr, parseIpv4, prefixLength } from '../../kit/cidr.ts';
import { SkeinError } from '../../model/errors.ts';
import type { NetworkId } from '../../model/ids.ts';
import type { Network } from '../../model/objects.ts';
import type { IpamConfig, NetworkSpec } from '../../model/spec.ts';
import type { View } from '../../store/view.ts';
import { hasEnded, ingressPorts, networksOf } from '../task.ts';
import { checkName } from './service-spec.ts';
import { inUse, invalid, taken, unimplemented } from './refusal.ts';

const PREDEFINED = ['bridge', 'host', 'none'];

export function checkNetworkSpec(view: View, spec: NetworkSpec): void {
  checkName(spec.Name, 'meta: name must be provided');
  if (PREDEFINED.includes(spec.Name))
    throw new SkeinError(
      'permission-denied',
      `operation is not permitted on predefined ${spec.Name} network `,
    );
  if (view.byName('network', spec.Name))
    throw new SkeinError('already-exists', `network with name ${spec.Name} already exists`);
  if (spec.Driver && spec.Driver !== 'overlay')
    throw unimplemented(`network driver ${spec.Driver} is not served by Skein`);
  if (spec.EnableIPv6) throw unimplemented('IPv6 on overlay networks is not served by Skein yet');
  if ('encrypted' in (spec.Options ?? {}))
    throw unimplemented('encrypted overlay networks are not served by Skein yet');
  if (spec.Ingress) checkIngress(view, spec);
  checkIpam(view, spec);
}

function checkIngress(view: View, spec: NetworkSpec): void {
  if (view.ingress) throw taken(`ingress network (${view.ingress.id}) is already present`);
  if (spec.Attachable) throw invalid('ingress network cannot be attachable');
  if (spec.Internal) throw invalid('ingress network cannot be internal');
}

function checkIpam(view: View, spec: NetworkSpec): void {
  const configs = spec.IPAM?.Config ?? [];
  if (spec.IPAM?.Driver && spec.IPAM.Driver !== 'default')
    throw unimplemented(`IPAM driver ${spec.IPAM.Driver} is not served by Skein`);
  if (configs.length > 1) throw unimplemented('more than one subnet on a network is not served by Skein yet');
  const [config] = configs;
  if (config) checkSubnet(view, config);
}

function checkSubnet(
  view: View,
  { Subnet: text, Gateway: gateway, IPRange: range, AuxiliaryAddresses: auxiliary = {} }: IpamConfig,
): void {
  if (!text) {
    if (gateway || range)
      throw invalid('ipam configuration: subnet must be specified with gateway or ip-range');
    return;
  }
  const subnet = words(() => parseCidr(text));
  if (prefixLength(subnet) > 29) throw invalid(`ipam configuration: subnet ${text} is too small`);
  for (const ip of [...(gateway ? [gateway] : []), ...Object.values(auxiliary)])
    if (
      !contains(
        subnet,
        words(() => parseIpv4(ip)),
      )
    )
      throw invalid(`ipam configuration: address ${ip} is not in subnet ${text}`);
  if (
    range &&
    !isWithin(
      words(() => parseCidr(range)),
      subnet,
    )
  )
    throw invalid(`ipam configuration: ip-range ${range} is not in subnet ${text}`);
  for (const network of view.all('network').values())
    if (network.state && overlaps(network.state.subnet, subnet))
      throw inUse(
        `Pool overlaps with other one on this address space: ${text} and ${network.state.subnet} of network ${network.spec.Name}`,
      );
}

const isWithin = (inner: ReturnType<typeof parseCidr>, outer: ReturnType<typeof parseCidr>): boolean =>
  overlaps(inner, outer) && prefixLength(inner) >= prefixLength(outer);

function words<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw invalid(SkeinError.from(error).message);
  }
}

export function checkUnused(view: View, network: Network): void {
  for (const service of view.all('service').values()) {
    const uses = network.spec.Ingress
      ? ingressPorts(service.spec.EndpointSpec?.Ports).length > 0
      : networksOf(service.spec).some(({ Target }) => (Target as NetworkId) === network.id);
    if (!uses) continue;
    if (network.spec.Ingress)
      throw inUse(`ingress network cannot be removed because service ${service.id} depends on it`);
    throw inUse(`network ${network.id} is in use by service ${service.id}`);
  }
  for (const task of view.tasksOfNetwork(network.id))
    if (!hasEnded(task)) throw inUse(`network ${network.id} is in use by task ${task.id}`);
}
