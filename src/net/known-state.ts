/** Small changes of a `KernelState` that stands for the kernel: a sandbox joins it or leaves it. Pure. */
import type { ContainerId } from '../model/ids.ts';
import type { Wanted } from './diff-plan.ts';
import type { Desired } from './plan.ts';
import { isPortOf } from './link-names.ts';
import { type KernelState, type Link, linkKey, type NftTable, type Place, StateBuilder } from './state.ts';

const LINK_MAPS = ['addresses', 'neighbours', 'fdb', 'routes'] as const;

type Attached = { readonly place: Place; readonly link: string };

/** The maps of these kinds differ in what else their values say. */
const mapOf = (state: KernelState, kind: (typeof LINK_MAPS)[number]): Map<string, Attached> =>
  state[kind] as unknown as Map<string, Attached>;

/** Nothing but the namespaces. */
export function emptyState(places: readonly Place[]): KernelState {
  const state = new StateBuilder();
  for (const place of places) state.netns.add(place);
  return state;
}

/** What stands in one namespace; its nftables table is not part of it. */
export function atPlace(state: KernelState, place: Place): KernelState {
  const part = emptyState(state.netns.has(place) ? [place] : []);
  for (const kind of ['links', 'sysctls', 'markRules', ...LINK_MAPS] as const)
    for (const [key, value] of state[kind])
      if (value.place === place) (part[kind] as Map<string, unknown>).set(key, value);
  return part;
}

/** What was made for a sandbox takes the place of what it had. */
export function mergeSandbox(known: Desired, made: Desired): void {
  for (const place of made.tables.keys())
    if (known.tables.has(place)) dropSandbox(known, place as ContainerId);
  for (const [place, table] of made.tables) (known.tables as Map<Place, NftTable>).set(place, table);
  for (const place of made.netns) (known.netns as Set<Place>).add(place);
  for (const kind of ['links', 'sysctls', 'markRules', 'nft', ...LINK_MAPS] as const)
    for (const [key, value] of made[kind]) (known[kind] as Map<string, unknown>).set(key, value);
}

/** Removes what a sandbox had: everything inside it, and its ports with all that hung on them. */
export function dropSandbox(known: KernelState & Partial<Pick<Desired, 'tables'>>, id: ContainerId): void {
  (known.netns as Set<Place>).delete(id);
  (known.nft as Map<Place, unknown>).delete(id);
  (known.tables as Map<Place, unknown> | undefined)?.delete(id);
  for (const [key, rule] of known.markRules)
    if (rule.place === id) (known.markRules as Map<string, unknown>).delete(key);
  for (const [key, link] of known.links)
    if (link.place === id || isPortOf(id, link.name)) (known.links as Map<string, Link>).delete(key);
  for (const [key, sysctl] of known.sysctls)
    if (sysctl.place === id) (known.sysctls as Map<string, unknown>).delete(key);
  for (const kind of LINK_MAPS)
    for (const [key, value] of mapOf(known, kind))
      if (value.place === id || isPortOf(id, value.link)) mapOf(known, kind).delete(key);
}

/** What of `observed` belongs to the sandbox `id`, so that a difference is about nothing else. */
export function onlyOf(observed: KernelState, wanted: Wanted, id: ContainerId): KernelState {
  const state = emptyState([...observed.netns]) as StateBuilder;
  const isIts = (place: Place, link: string) => place === id || isPortOf(id, link);
  for (const link of observed.links.values())
    if (isIts(link.place, link.name)) state.links.set(linkKey(link), link);
  for (const kind of LINK_MAPS)
    for (const [key, value] of mapOf(observed, kind))
      if (isIts(value.place, value.link) || wanted[kind].has(key)) mapOf(state, kind).set(key, value);
  for (const [key, rule] of observed.markRules) if (rule.place === id) state.markRules.set(key, rule);
  const nft = observed.nft.get(id);
  if (nft) state.nft.set(id, nft);
  for (const [key, sysctl] of observed.sysctls) state.sysctls.set(key, sysctl);
  return state;
}
