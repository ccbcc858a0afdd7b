/** The part of the difference that is about one nftables table. Pure. */
import { chainOf, roundRobinsOf } from './nft-names.ts';
import {
  type BaseChain,
  emptyNft,
  type FixedChain,
  type NftState,
  type NftTable,
  OTHER_LAYOUT,
  type Place,
  type RoundRobin,
} from './state.ts';

/** Changes of frontends: one transaction, so that no packet meets half of it. */
export interface FrontendChanges {
  readonly addChains: ReadonlyMap<string, RoundRobin>;
  readonly setChains: ReadonlyMap<string, RoundRobin>;
  readonly deleteChains: readonly string[];
  readonly addPublished: ReadonlyMap<string, string>;
  readonly deletePublished: readonly string[];
  readonly addCounts: ReadonlyMap<string, string>;
  readonly deleteCounts: readonly string[];
  readonly addSlots: ReadonlyMap<string, string>;
  readonly deleteSlots: readonly string[];
  readonly addBound: ReadonlyMap<string, string>;
  readonly deleteBound: readonly string[];
  /** Backends, `address:port` or `address`, that nothing leads to any more: all UDP flows to them are forgotten. */
  readonly goneUdp: ReadonlySet<string>;
  /** And those of TCP: the connections that they have not answered are. */
  readonly goneTcp: ReadonlySet<string>;
}

export type NftStep =
  /** Makes the table, with frontends or without (`table`), or replaces and removes single chains of it. */
  | {
      readonly kind: 'nft.base';
      readonly place: Place;
      readonly table: NftTable | undefined;
      readonly replace: readonly { readonly chain: BaseChain | FixedChain; readonly exists: boolean }[];
      readonly remove: readonly string[];
    }
  | { readonly kind: 'nft.frontends'; readonly place: Place; readonly changes: FrontendChanges };

export function diffNft(
  place: Place,
  table: NftTable,
  desired: NftState,
  seen: NftState | undefined,
): NftStep[] {
  // What another version left goes on until all that takes its place stands, in one transaction.
  if (seen?.present === OTHER_LAYOUT) return [{ kind: 'nft.base', place, table, replace: [], remove: [] }];
  const observed = seen ?? emptyNft;
  const steps: NftStep[] = [];
  const base = baseStep(place, table, desired, observed);
  if (base) steps.push(base);
  const changes = frontendChanges(table, desired, observed);
  if (changes) steps.push({ kind: 'nft.frontends', place, changes });
  return steps;
}

function baseStep(place: Place, table: NftTable, desired: NftState, observed: NftState): NftStep | undefined {
  if (!observed.present)
    return {
      kind: 'nft.base',
      place,
      table: { ...table, frontends: new Map(), bound: new Map() },
      replace: [],
      remove: [],
    };
  // `balance` first: the others lead to it.
  const replace = [table.balance, ...table.bases]
    .filter((chain) => observed.fixed.get(chain.name) !== desired.fixed.get(chain.name))
    .map((chain) => ({ chain, exists: observed.fixed.has(chain.name) }));
  const remove = [...observed.fixed.keys()].filter((name) => !desired.fixed.has(name));
  if (replace.length + remove.length === 0) return undefined;
  return { kind: 'nft.base', place, table: undefined, replace, remove };
}

function frontendChanges(
  table: NftTable,
  desired: NftState,
  observed: NftState,
): FrontendChanges | undefined {
  const chains = compare(desired.chains, observed.chains);
  const published = compare(desired.published, observed.published);
  const counts = compare(desired.counts, observed.counts);
  const slots = compare(desired.slots, observed.slots);
  const bound = compare(desired.bound, observed.bound);
  const touched = [chains, published, counts, slots, bound].some(
    (c) => c.add.size + c.change.size + c.remove.length > 0,
  );
  if (!touched) return undefined;
  const rules = new Map(
    [...table.frontends.values()].flatMap((f) => roundRobinsOf(f).map((r) => [chainOf(f, r.modulus), r])),
  );
  const withRules = (names: Iterable<string>) => new Map([...names].map((name) => [name, rules.get(name)!]));
  const replaced = <K>(c: { add: Map<K, string>; change: Map<K, string>; remove: K[] }) => ({
    add: new Map([...c.add, ...c.change]),
    remove: [...c.remove, ...c.change.keys()],
  });
  const [newPublished, newCounts] = [replaced(published), replaced(counts)];
  const [newSlots, newBound] = [replaced(slots), replaced(bound)];
  const lost = new Map([
    ...newSlots.remove.map((key) => [key, observed.slots.get(key)!] as const),
    ...newBound.remove.map((key) => [key, observed.bound.get(key)!] as const),
  ]);
  return {
    addChains: withRules(chains.add.keys()),
    setChains: withRules(chains.change.keys()),
    deleteChains: chains.remove,
    addPublished: newPublished.add,
    deletePublished: newPublished.remove,
    addCounts: newCounts.add,
    deleteCounts: newCounts.remove,
    addSlots: newSlots.add,
    deleteSlots: newSlots.remove,
    addBound: newBound.add,
    deleteBound: newBound.remove,
    goneUdp: gone('udp', desired, lost),
    goneTcp: gone('tcp', desired, lost),
  };
}

function compare(desired: ReadonlyMap<string, string>, observed: ReadonlyMap<string, string>) {
  const add = new Map<string, string>();
  const change = new Map<string, string>();
  for (const [key, value] of desired) {
    const seen = observed.get(key);
    if (seen === undefined) add.set(key, value);
    else if (seen !== value) change.set(key, value);
  }
  return { add, change, remove: [...observed.keys()].filter((key) => !desired.has(key)) };
}

/** Of the targets that were `lost`, by what led there, those that nothing desired leads to. */
function gone(
  protocol: 'udp' | 'tcp',
  { slots, bound }: NftState,
  lost: ReadonlyMap<string, string>,
): Set<string> {
  const mayBe = ([key]: readonly [string, string]) =>
    key.startsWith(`${protocol}/`) || key.startsWith('vip/');
  const suspects = new Set([...lost].filter(mayBe).map(([, target]) => target));
  if (suspects.size === 0) return suspects;
  for (const map of [slots, bound]) for (const entry of map) if (mayBe(entry)) suspects.delete(entry[1]);
  return suspects;
}
