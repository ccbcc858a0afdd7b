/** The part of the difference that is about one nftables table. Pure. */
import { chainOf, chainRuleOf, type NftTable } from './nft-plan.ts';
import { type BaseChain, type ChainRule, emptyNft, type NftState, type Place } from './state.ts';

/** Changes of frontends: one transaction, so that no packet meets half of it. */
export interface FrontendChanges {
  readonly addChains: ReadonlyMap<string, ChainRule>;
  readonly setChains: ReadonlyMap<string, ChainRule>;
  readonly deleteChains: readonly string[];
  readonly addPublished: ReadonlyMap<string, string>;
  readonly deletePublished: readonly string[];
  readonly addSlots: ReadonlyMap<string, string>;
  readonly deleteSlots: readonly string[];
  /** Backends, `address:port` or `address`, that no slot leads to any more: all UDP flows to them are forgotten. */
  readonly goneUdp: ReadonlySet<string>;
  /** And those of TCP: the connections that they have not answered are. */
  readonly goneTcp: ReadonlySet<string>;
}

export type NftStep =
  /** Makes the whole fixed part (`table`) or replaces and removes single base chains of it. */
  | {
      readonly kind: 'nft.base';
      readonly place: Place;
      readonly table: NftTable | undefined;
      readonly replace: readonly { readonly chain: BaseChain; readonly exists: boolean }[];
      readonly remove: readonly string[];
    }
  | { readonly kind: 'nft.frontends'; readonly place: Place; readonly changes: FrontendChanges };

export function diffNft(
  place: Place,
  table: NftTable,
  desired: NftState,
  seen: NftState | undefined,
): NftStep[] {
  const observed = seen?.present ? seen : emptyNft;
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
      table: { ...table, frontends: new Map() },
      replace: [],
      remove: [],
    };
  const replace = table.bases
    .filter((chain) => observed.bases.get(chain.name) !== desired.bases.get(chain.name))
    .map((chain) => ({ chain, exists: observed.bases.has(chain.name) }));
  const remove = [...observed.bases.keys()].filter((name) => !desired.bases.has(name));
  if (replace.length + remove.length === 0) return undefined;
  return { kind: 'nft.base', place, table: undefined, replace, remove };
}

function frontendChanges(
  table: NftTable,
  desired: NftState,
  observed: NftState,
): FrontendChanges | undefined {
  const rules = new Map([...table.frontends.values()].map((f) => [chainOf(f), chainRuleOf(f)]));
  const chains = compare(desired.chains, observed.chains);
  const published = compare(desired.published, observed.published);
  const slots = compare(desired.slots, observed.slots);
  const touched = [chains, published, slots].some((c) => c.add.size + c.change.size + c.remove.length > 0);
  if (!touched) return undefined;
  const withRules = (names: Iterable<string>) => new Map([...names].map((name) => [name, rules.get(name)!]));
  const replaced = <K>(c: { add: Map<K, string>; change: Map<K, string>; remove: K[] }) => ({
    add: new Map([...c.add, ...c.change]),
    remove: [...c.remove, ...c.change.keys()],
  });
  const [newPublished, newSlots] = [replaced(published), replaced(slots)];
  return {
    addChains: withRules(chains.add.keys()),
    setChains: withRules(chains.change.keys()),
    deleteChains: chains.remove,
    addPublished: newPublished.add,
    deletePublished: newPublished.remove,
    addSlots: newSlots.add,
    deleteSlots: newSlots.remove,
    goneUdp: gone('udp', desired.slots, observed.slots, newSlots.remove),
    goneTcp: gone('tcp', desired.slots, observed.slots, newSlots.remove),
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

function gone(
  protocol: 'udp' | 'tcp',
  desired: ReadonlyMap<string, string>,
  observed: ReadonlyMap<string, string>,
  removed: readonly string[],
): Set<string> {
  const mayBe = (key: string) => key.startsWith(`${protocol}/`) || key.startsWith('vip/');
  const suspects = new Set(removed.filter(mayBe).map((key) => observed.get(key)!));
  if (suspects.size === 0) return suspects;
  for (const [key, target] of desired) if (mayBe(key)) suspects.delete(target);
  return suspects;
}
