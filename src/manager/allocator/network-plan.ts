/** VNI and subnet of a new network. Cost: looks at all networks, which is once in a network's life. */
import { intToIp, overlaps, parseCidr, range } from '../../kit/cidr.ts';
import type { Cidr, Ipv4, Vni } from '../../model/ids.ts';
import type { Network, NetworkState } from '../../model/objects.ts';
import type { NetworkSpec } from '../../model/spec.ts';
import type { Draft } from './draft.ts';

const FIRST_VNI = 4096;
const LAST_VNI = 0xffffff;

export function allocateNetwork(draft: Draft, network: Network | undefined): void {
  if (!network || network.state) return;
  const vni = freeVni(draft, network);
  const subnet = chooseSubnet(draft, network);
  if (vni === undefined || !subnet) return void draft.refused.add(`network/${network.id}`);
  const config = network.spec.IPAM?.Config?.[0];
  const gateway = (config?.Gateway || intToIp(range(subnet).first + 1)) as Ipv4;
  const ipRange = config?.IPRange ? parseCidr(config.IPRange) : undefined;
  const state = { vni, subnet, gateway, ipRange };
  draft.states.set(network.id, state);
  draft.steps.push({ kind: 'allocate-network', network, state });
}

const takenStates = (draft: Draft): NetworkState[] => [
  ...[...draft.view.all('network').values()].flatMap(({ state }) => (state ? [state] : [])),
  ...draft.states.values(),
];

/** The one that was asked for, else: 4096 for the ingress network alone; others go on above the highest in use, and fill gaps only at the end. */
function freeVni(draft: Draft, network: Network): Vni | undefined {
  const taken = new Set<number>(takenStates(draft).map(({ vni }) => vni));
  const asked = askedVni(network.spec);
  if (asked !== undefined) return taken.has(asked) ? undefined : (asked as Vni);
  if (network.spec.Ingress && !taken.has(FIRST_VNI)) return FIRST_VNI as Vni;
  const highest = [...taken].reduce((a, b) => Math.max(a, b), FIRST_VNI);
  if (highest < LAST_VNI) return (highest + 1) as Vni;
  for (let vni = FIRST_VNI + 1; vni <= LAST_VNI; vni++) if (!taken.has(vni)) return vni as Vni;
  return undefined;
}

export const VNI_LIST = 'com.docker.network.driver.overlay.vxlanid_list';

/** The first of the driver's list of VNIs, one a subnet; a network has one subnet. */
export function askedVni({ Options }: NetworkSpec): number | undefined {
  const text = Options?.[VNI_LIST]?.split(',')[0];
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

export const isVni = (vni: number): boolean => vni > 0 && vni <= LAST_VNI;

function chooseSubnet(draft: Draft, network: Network): Cidr | undefined {
  const given = network.spec.IPAM?.Config?.[0]?.Subnet;
  if (given) return parseCidr(given);
  const cluster = draft.view.cluster;
  if (!cluster) return undefined;
  const asked = [...draft.view.all('network').values()].flatMap(
    ({ spec }) => spec.IPAM?.Config?.[0]?.Subnet ?? [],
  );
  const taken = [...takenStates(draft).map(({ subnet }) => subnet), ...asked.map(parseCidr)];
  return freeSubnet(cluster.addressPools, cluster.subnetSize, taken);
}

/** The first block of the pools that overlaps nothing taken. A taken range is jumped over, not walked through. */
export function freeSubnet(pools: readonly Cidr[], size: number, taken: readonly Cidr[]): Cidr | undefined {
  const block = 2 ** (32 - size);
  for (const pool of pools) {
    const { first, last } = range(pool);
    for (let at = first; at + block - 1 <= last; ) {
      const subnet = `${intToIp(at)}/${size}` as Cidr;
      const hit = taken.find((other) => overlaps(subnet, other));
      if (!hit) return subnet;
      at = Math.ceil((range(hit).last + 1) / block) * block;
    }
  }
  return undefined;
}
