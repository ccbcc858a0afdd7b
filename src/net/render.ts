/**
 * The plan as text that a person reads: the nftables table as `nft -f` takes it, everything else as batches of `ip`
 * and `bridge`, one a namespace. Golden files hold it; a test loads it into a real kernel and finds nothing to change.
 */
import type { Desired } from './plan.ts';
import { tableText } from './nft-text.ts';
import type { Link, Place } from './state.ts';

/** The table of the root namespace, or of a sandbox. */
export const renderNft = (desired: Desired, place: Place = 'root'): string =>
  tableText(desired.tables.get(place)!);

export interface Batch {
  readonly place: Place;
  readonly tool: 'ip' | 'bridge';
  readonly lines: readonly string[];
}

/** `pathOf` names a namespace as `ip` takes it. In the order in which they are to be run. */
export function renderBatches(desired: Desired, pathOf: (place: Place) => string = String): Batch[] {
  const links = [...desired.links.values()].filter((l) => l.type.kind !== 'other');
  const ends = new Set<Link>();
  const made = links.flatMap((link) => creation(link, desired, ends, pathOf));
  const batches: Batch[] = [{ place: 'root', tool: 'ip', lines: made }];
  for (const place of desired.netns) {
    batches.push({ place, tool: 'ip', lines: ipLines(desired, links, place) });
    batches.push({ place, tool: 'bridge', lines: bridgeLines(desired, links, place) });
  }
  return batches.filter((batch) => batch.lines.length > 0);
}

export const renderIpBatch = (desired: Desired): string =>
  [
    ...[...desired.sysctls.values()].map(
      (s) => `# ${s.place}: ${s.key.replaceAll('/', '.')} = ${s.value.replaceAll('\t', ' ')}`,
    ),
    ...renderBatches(desired).flatMap((b) => [`# ${b.tool} -batch, in ${b.place}`, ...b.lines]),
    '',
  ].join('\n');

/** Every link is made from the root namespace; the second end of a veth comes with the first. */
function creation(link: Link, desired: Desired, ends: Set<Link>, pathOf: (place: Place) => string): string[] {
  if (ends.has(link)) return [];
  const where = (place: Place) => (place === 'root' ? '' : ` netns ${pathOf(place)}`);
  const head = `link add name ${link.name}${link.mac ? ` address ${link.mac}` : ''} mtu ${link.mtu}${where(link.place)}`;
  switch (link.type.kind) {
    case 'bridge':
      return [`${head} type bridge mcast_snooping 0`];
    case 'vxlan': {
      const { vni, local, port } = link.type;
      return [`${head} type vxlan id ${vni} local ${local} dstport ${port} nolearning proxy`];
    }
    case 'veth': {
      const { place, name } = link.type.peer;
      const peer = desired.links.get(`${place}|${name}`);
      if (peer) ends.add(peer);
      const mac = peer?.mac ? ` address ${peer.mac}` : '';
      return [`${head} type veth peer name ${name}${mac} mtu ${link.mtu}${where(place)}`];
    }
    case 'other':
      return [];
  }
}

const onOff = (value: boolean): string => (value ? 'on' : 'off');

function ipLines(desired: Desired, links: readonly Link[], place: Place): string[] {
  const here = <T extends { readonly place: Place }>(values: Iterable<T>) =>
    [...values].filter((value) => value.place === place);
  return [
    ...(place === 'root' || place === 'fabric' ? [] : ['link set dev lo up']),
    ...here(links).map((l) => `link set dev ${l.name}${l.master ? ` master ${l.master}` : ''} up`),
    ...here(links).flatMap((l) =>
      l.port
        ? [
            `link set dev ${l.name} type bridge_slave learning ${onOff(l.port.learning)} ` +
              `flood ${onOff(l.port.flood)} isolated ${onOff(l.port.isolated)}`,
          ]
        : [],
    ),
    ...here(desired.addresses.values()).map((a) => `address add ${a.address} broadcast + dev ${a.link}`),
    ...here(desired.routes.values()).map(
      (r) =>
        `route add default via ${r.via} dev ${r.link}${r.source ? ` src ${r.source}` : ''}${r.table ? ` table ${r.table}` : ''}`,
    ),
    ...here(desired.markRules.values()).map((r) => `rule add fwmark ${r.mark} table ${r.mark}`),
    ...here(desired.neighbours.values()).map(
      (n) => `neighbour replace ${n.ip} lladdr ${n.mac} dev ${n.link} nud permanent`,
    ),
  ];
}

const bridgeLines = (desired: Desired, links: readonly Link[], place: Place): string[] =>
  [...desired.fdb.values()]
    .filter((f) => f.place === place && links.some((l) => l.name === f.link))
    .map((f) =>
      f.vtep
        ? `fdb append ${f.mac} dev ${f.link} dst ${f.vtep} self permanent`
        : `fdb replace ${f.mac} dev ${f.link} master static`,
    );
