/** The part of the difference that is about the nftables table. Pure. */
import type { NftTable } from './nft-plan.ts';
import { type BaseChain, emptyNft, type NftState } from './state.ts';

/** Changes of published ports: one transaction, so that no packet meets half of it. */
export interface PortChanges {
  /** Chain -> modulus of its round robin. */
  readonly addChains: ReadonlyMap<string, number>;
  readonly setChains: ReadonlyMap<string, number>;
  readonly deleteChains: readonly string[];
  readonly addPublished: ReadonlyMap<string, string>;
  readonly deletePublished: readonly string[];
  readonly addSlots: ReadonlyMap<string, string>;
  readonly deleteSlots: readonly string[];
  /** UDP backends, `address:port`, that no slot leads to any more: their flows are forgotten. */
  readonly forgetUdp: ReadonlySet<string>;
}

export type NftStep =
  /** Makes the whole fixed part (`table`) or replaces and removes single base chains of it. */
  | {
      readonly kind: 'nft.base';
      readonly place: 'root';
      readonly table: NftTable | undefined;
      readonly replace: readonly { readonly chain: BaseChain; readonly exists: boolean }[];
      readonly remove: readonly string[];
    }
  | { readonly kind: 'nft.ports'; readonly place: 'root'; readonly changes: PortChanges };

export function diffNft(table: NftTable, desired: NftState, seen: NftState): NftStep[] {
  const observed = seen.present ? seen : emptyNft;
  const steps: NftStep[] = [];
  const base = baseStep(table, desired, observed);
  if (base) steps.push(base);
  const changes = portChanges(table, desired, observed);
  if (changes) steps.push({ kind: 'nft.ports', place: 'root', changes });
  return steps;
}

function baseStep(table: NftTable, desired: NftState, observed: NftState): NftStep | undefined {
  if (!observed.present)
    return {
      kind: 'nft.base',
      place: 'root',
      table: { ...table, ports: new Map() },
      replace: [],
      remove: [],
    };
  const replace = table.bases
    .filter((chain) => observed.bases.get(chain.name) !== desired.bases.get(chain.name))
    .map((chain) => ({ chain, exists: observed.bases.has(chain.name) }));
  const remove = [...observed.bases.keys()].filter((name) => !desired.bases.has(name));
  if (replace.length + remove.length === 0) return undefined;
  return { kind: 'nft.base', place: 'root', table: undefined, replace, remove };
}

function portChanges(table: NftTable, desired: NftState, observed: NftState): PortChanges | undefined {
  const modulus = new Map(
    [...table.ports.values()].map((p) => [`${p.protocol}-${p.port}`, p.backends.length]),
  );
  const chains = compare(desired.chains, observed.chains);
  const published = compare(desired.published, observed.published);
  const slots = compare(desired.slots, observed.slots);
  const touched = [chains, published, slots].some((c) => c.add.size + c.change.size + c.remove.length > 0);
  if (!touched) return undefined;
  const withModulus = (names: Iterable<string>) =>
    new Map([...names].map((name) => [name, modulus.get(name) ?? 0]));
  const replaced = <K>(c: { add: Map<K, string>; change: Map<K, string>; remove: K[] }) => ({
    add: new Map([...c.add, ...c.change]),
    remove: [...c.remove, ...c.change.keys()],
  });
  const [newPublished, newSlots] = [replaced(published), replaced(slots)];
  return {
    addChains: withModulus(chains.add.keys()),
    setChains: withModulus(chains.change.keys()),
    deleteChains: chains.remove,
    addPublished: newPublished.add,
    deletePublished: newPublished.remove,
    addSlots: newSlots.add,
    deleteSlots: newSlots.remove,
    forgetUdp: goneUdp(desired.slots, observed.slots, newSlots.remove),
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

function goneUdp(
  desired: ReadonlyMap<string, string>,
  observed: ReadonlyMap<string, string>,
  removed: readonly string[],
): Set<string> {
  const suspects = new Set(removed.filter((key) => key.startsWith('udp/')).map((key) => observed.get(key)!));
  if (suspects.size === 0) return suspects;
  for (const [key, target] of desired) if (key.startsWith('udp/')) suspects.delete(target);
  return suspects;
}
