/** Whether an overlay network can be made, and whether one can go. */
import { contains, overlaps, parseCidr, parseIpv4, prefixLength } from '../../kit/cidr.ts';
import { SkeinError } from '../../model/errors.ts';
import type { Cidr, NetworkId, Vni } from '../../model/ids.ts';
import type { Network, Task } from '../../model/objects.ts';
import type { IpamConfig, NetworkSpec } from '../../model/spec.ts';
import type { View } from '../../store/view.ts';
import { hasEnded, ingressPorts, isAttachment, isLost, isWanted, networksOf } from '../task.ts';
import { askedVni, isVni, VNI_LIST } from '../allocator/network-plan.ts';
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
  checkVni(view, spec);
  checkIpam(view, spec);
}

function checkIngress(view: View, spec: NetworkSpec): void {
  if (view.ingress) throw taken(`ingress network (${view.ingress.id}) is already present`);
  if (spec.Attachable) throw invalid('ingress network cannot be attachable');
  if (spec.Internal) throw invalid('ingress network cannot be internal');
}

function checkVni(view: View, spec: NetworkSpec): void {
  const text = spec.Options?.[VNI_LIST];
  if (text === undefined) return;
  const vni = askedVni(spec);
  if (vni === undefined || !isVni(vni)) throw invalid(`invalid vxlan id value ${text} passed`);
  for (const network of view.all('network').values())
    if (network.state?.vni === (vni as Vni))
      throw inUse(`vxlan id ${vni} is already in use by network ${network.spec.Name}`);
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
    if (network.spec.Ingress && network.state && overlaps(network.state.subnet, subnet))
      throw inUse(
        `Pool overlaps with other one on this address space: ${text} and ${network.state.subnet} of the ingress network ${network.spec.Name}`,
      );
}

/**
 * Networks are segments of their own, so their subnets may overlap; but one container can not stand on two that do.
 * The ingress network's is apart from all: any service may publish a port tomorrow.
 */
export function checkTogether(view: View, networks: readonly NetworkId[]): void {
  const known = networks.flatMap((id) => view.get('network', id) ?? []);
  for (const [i, one] of known.entries()) for (const other of known.slice(i + 1)) checkApart(one, other);
}

function checkApart(one: Network, other: Network): void {
  const [a, b] = [subnetOf(one), subnetOf(other)];
  if (a && b && overlaps(a, b))
    throw invalid(
      `networks ${one.spec.Name} (${a}) and ${other.spec.Name} (${b}) overlap: one service can not be on both`,
    );
}

/** As allocated, or as asked for by somebody a moment ago. */
function subnetOf({ state, spec }: Network): Cidr | undefined {
  const asked = spec.IPAM?.Config?.[0]?.Subnet;
  return state?.subnet ?? (asked ? parseCidr(asked) : undefined);
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
  const user = standing(view, network).find((task) => !isLeaving(view, task));
  if (user) throw stillUsed(network, user);
}

/** Tasks that still stand on the network, on nodes that can be asked to end them. */
export const standing = (view: View, network: Pick<Network, 'id'>): Task[] =>
  [...view.tasksOfNetwork(network.id)].filter((task) => !hasEnded(task) && !isLost(view, task));

/** On its way out: it is to stop, or its service is gone. */
const isLeaving = (view: View, task: Task): boolean =>
  !isWanted(task) || (!isAttachment(task) && !view.get('service', task.serviceId));

export const stillUsed = (network: Pick<Network, 'id'>, task: Task) =>
  inUse(`network ${network.id} is in use by task ${task.id}`);
