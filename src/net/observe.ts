/**
 * Reads the kernel back: what there is of Skein on this node. Objects of others (links of other names in the root
 * namespace, other tables) are not in it, so no difference can ever be about them.
 */
import { interfaceAddress } from '../kit/cidr.ts';
import { isCode } from '../model/errors.ts';
import type { NetlinkSocket } from './netlink.ts';
import {
  dumpBound,
  dumpChains,
  dumpCounts,
  dumpRoundRobins,
  dumpRules,
  dumpSlots,
  dumpVipSlots,
} from './nfnetlink-read.ts';
import { isOurs } from './link-names.ts';
import { markOf } from './nft-state.ts';
import { BALANCE, PROTOCOLS } from './nft-names.ts';
import type { Places } from './places.ts';
import { isReturnMark } from './sandbox-table.ts';
import {
  dumpAddresses,
  dumpFdb,
  dumpLinks,
  dumpMarkRules,
  dumpNeighbours,
  dumpRoutes,
  type ObservedLink,
} from './rtnetlink-read.ts';
import {
  emptyNft,
  type Frontend,
  type KernelState,
  type Link,
  type LinkKind,
  type NftState,
  OTHER_LAYOUT,
  type Place,
  StateBuilder,
  type Sysctl,
} from './state.ts';

/** `sysctls`: the ones to read; `tables`: whose nftables tables. Sandbox places are read only when asked for. */
export function observe(
  places: Places,
  where: Iterable<Place>,
  sysctls: Iterable<Sysctl>,
  tables: Iterable<Place>,
): KernelState {
  const state = new StateBuilder();
  for (const place of where) if (places.exists(place)) observePlace(state, places, place);
  for (const { place, key } of sysctls) {
    const value = state.netns.has(place) ? places.readSysctl(place, key) : undefined;
    if (value !== undefined) state.sysctl(place, key, value);
  }
  for (const place of tables) observeTable(state, places, place);
  return state;
}

function observePlace(state: StateBuilder, places: Places, place: Place): void {
  state.netns.add(place);
  const socket = places.route(place);
  const all = dumpLinks(socket);
  places.learn(place, all);
  const names = new Map(all.map((link) => [link.index, link.name]));
  const ours = all.filter((link) => isManaged(place, link));
  const managed = new Map(ours.map((link) => [link.index, link.name]));
  for (const link of ours) state.link(asLink(place, link, names));
  for (const { index, ip, length } of dumpAddresses(socket)) {
    const link = managed.get(index);
    if (link && link !== 'lo') state.address(place, link, interfaceAddress(ip, length));
  }
  for (const { index, ip, mac } of dumpNeighbours(socket)) {
    const link = managed.get(index);
    if (link) state.neighbour({ place, link, ip, mac });
  }
  if (place === 'fabric')
    for (const { index, mac, vtep } of dumpFdb(socket)) {
      const link = managed.get(index);
      if (link) state.fdbEntry({ place, link, mac, vtep });
    }
  if (place !== 'root' && place !== 'fabric') observeRoutes(state, places, place, managed);
}

/** A container may hold links of its own (it may be given the right to make some): only ours are looked at. */
function isManaged(place: Place, link: ObservedLink): boolean {
  if (place === 'root') return isOurs(link.name);
  if (place === 'fabric') return link.name !== 'lo';
  return link.name === 'lo' || /^eth\d+$/.test(link.name);
}

function observeRoutes(
  state: StateBuilder,
  places: Places,
  place: Place,
  names: ReadonlyMap<number, string>,
): void {
  const socket = places.route(place);
  for (const route of dumpRoutes(socket)) {
    const link = names.get(route.index);
    const ours = route.table === undefined || isReturnMark(route.table);
    if (link && ours && route.via && route.destination.length === 0)
      state.route({ place, link, via: route.via, table: route.table, source: route.source });
  }
  for (const { mark, table } of dumpMarkRules(socket))
    if (mark === table && isReturnMark(mark)) state.markRule({ place, mark });
}

function asLink(place: Place, link: ObservedLink, names: ReadonlyMap<number, string>): Link {
  return {
    place,
    name: link.name,
    type: kindOf(link),
    mac: link.mac,
    mtu: link.mtu,
    master: link.master ? names.get(link.master) : undefined,
    port: link.port,
    up: link.up,
  };
}

function kindOf(link: ObservedLink): LinkKind {
  if (link.vxlan?.proxy)
    return { kind: 'vxlan', vni: link.vxlan.vni as never, local: link.vxlan.local, port: link.vxlan.port };
  if (link.kind === 'bridge') return { kind: 'bridge' };
  // Which end a veth leads to is not compared: both ends go when one goes.
  if (link.kind === 'veth') return { kind: 'veth', peer: { place: 'root', name: '' } };
  return { kind: 'other', type: link.kind };
}

function observeTable(state: StateBuilder, places: Places, place: Place): void {
  if (place === 'fabric' || !places.exists(place)) return;
  state.nft.set(
    place,
    places.withFilter(place, (socket) => readNft(socket, place)),
  );
}

function readNft(socket: NetlinkSocket, place: Place): NftState {
  const chains = readChains(socket);
  if (!chains.present) return emptyNft;
  try {
    return { ...emptyNft, ...chains, ...readFrontends(socket, place), ...readSlots(socket, place) };
  } catch (error) {
    // It has not the maps that this version has.
    if (isCode(error, 'not-found')) return { ...emptyNft, present: OTHER_LAYOUT };
    throw error;
  }
}

function readChains(socket: NetlinkSocket): Pick<NftState, 'present' | 'fixed' | 'chains'> {
  const chains = dumpChains(socket);
  const comments = new Map<string, string[]>(chains.map(({ name }) => [name, []]));
  for (const rule of dumpRules(socket)) comments.get(rule.chain)?.push(rule.comment);
  const fixed = new Map<string, string>();
  const plain = new Map<string, string>();
  for (const { name, hook } of chains) {
    const marks = comments.get(name)!;
    if (hook || name === BALANCE) fixed.set(name, markOf(hook, marks));
    else plain.set(name, marks.join('; '));
  }
  return { present: chains.length > 0, fixed, chains: plain };
}

const kindOfFrontends = (place: Place): Frontend['kind'] => (place === 'root' ? 'port' : 'vip');

function readFrontends(socket: NetlinkSocket, place: Place): Pick<NftState, 'published' | 'counts'> {
  const kind = kindOfFrontends(place);
  // Counts first: an older version has maps of the other names, with other keys.
  return { counts: dumpCounts(socket, kind), published: dumpRoundRobins(socket, kind) };
}

function readSlots(socket: NetlinkSocket, place: Place): Pick<NftState, 'slots' | 'bound'> {
  if (kindOfFrontends(place) === 'vip') return { slots: dumpVipSlots(socket), bound: new Map() };
  return {
    slots: new Map(PROTOCOLS.flatMap((protocol) => [...dumpSlots(socket, protocol)])),
    bound: dumpBound(socket),
  };
}

/** A table's state, read in parts. */
export const NFT_PARTS = [readChains, readFrontends, readSlots] as const;
