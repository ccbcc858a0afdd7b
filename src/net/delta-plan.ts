/**
 * The hot change: endpoints and services that came, went or changed while everything else stood still. Plans just the
 * objects that hang on them, against what is known of the kernel, with the same planners and the same difference. Pure.
 *
 * Cost: a few passes over the endpoints that compare identities (about a millisecond at 15,000), where a whole plan
 * makes and compares every object (about 100 ms).
 */
import type { ServiceId } from '../model/ids.ts';
import type { EndpointItem, NetworkView } from '../model/network-view.ts';
import { diff, type Step } from './diff-plan.ts';
import { planNft } from './nft-plan.ts';
import { nftStateOf } from './nft-state.ts';
import { type Desired, type Facts, planEndpoints, type SandboxRecord, surroundingsOf } from './plan.ts';
import { keepsClients } from './sandbox-plan.ts';
import { planSandboxTable, rotationOf } from './sandbox-table.ts';
import { type Frontend, linkKey, type NftState, type NftTable, type Place, StateBuilder } from './state.ts';
import { INGRESS_LINK, vxlanName } from './link-names.ts';

export interface DeltaPlan {
  readonly steps: readonly Step[];
  /** Published ports came or went. */
  readonly ports: boolean;
  /** Brings the known state to where the steps bring the kernel. Called once they are taken. */
  readonly settle: () => void;
}

/** undefined: more changed than endpoints and services; plan the whole. */
export function planDelta(
  before: NetworkView,
  after: NetworkView,
  known: Desired,
  facts: Facts,
  sandboxes: readonly SandboxRecord[],
): DeltaPlan | undefined {
  if (before.self !== after.self && JSON.stringify(before.self) !== JSON.stringify(after.self))
    return undefined;
  if (changedKeys(before.peers, after.peers).length > 0) return undefined;
  if (changedKeys(before.networks, after.networks).length > 0) return undefined;
  const endpoints = changedKeys(before.endpoints, after.endpoints);
  const services = touchedServices(before, after, endpoints);
  // Whether clients keep their addresses shapes the fixed part of sandboxes.
  if ([...services].some((id) => keepsClients(before, id) !== keepsClients(after, id))) return undefined;
  if (endpoints.some((key) => isEntrance(before, key) || isEntrance(after, key))) return undefined;
  const ends = endpointPart(before, after, known, endpoints);
  const parts = tableParts(before, after, known, facts, services, sandboxes);
  const nft = (which: 'wanted' | 'seen') => new Map(parts.map((part) => [part.place, part[which]]));
  const steps = diff(
    Object.assign(ends.wanted, {
      tables: new Map(parts.map(({ place, table }) => [place, table])),
      nft: nft('wanted'),
    }),
    Object.assign(ends.seen, { nft: nft('seen') }),
  );
  return {
    steps,
    ports: parts.some((part) => part.place === 'root' && !sameKeys(part.seenFrontends, part.table.frontends)),
    settle: () => {
      ends.settle();
      for (const part of parts) settleTable(known, part);
    },
  };
}

/** A node's ingress endpoint. */
const isEntrance = (view: NetworkView, key: string): boolean => {
  const endpoint = view.endpoints.get(key);
  return endpoint !== undefined && endpoint.taskId === undefined;
};

/** Keys whose value is not the same; values are compared by what they say only when they are not one object. */
function changedKeys<K, V>(before: ReadonlyMap<K, V>, after: ReadonlyMap<K, V>): K[] {
  const keys: K[] = [];
  if (before === after) return keys;
  for (const [key, value] of after) {
    const old = before.get(key);
    if (old !== value && (old === undefined || JSON.stringify(old) !== JSON.stringify(value))) keys.push(key);
  }
  for (const key of before.keys()) if (!after.has(key)) keys.push(key);
  return keys;
}

function touchedServices(
  before: NetworkView,
  after: NetworkView,
  endpoints: readonly string[],
): Set<ServiceId> {
  const services = new Set(changedKeys(before.services, after.services));
  for (const key of endpoints)
    for (const endpoint of [before.endpoints.get(key), after.endpoints.get(key)])
      if (endpoint?.serviceId) services.add(endpoint.serviceId);
  return services;
}

const placeOf = (view: NetworkView, e: EndpointItem): string =>
  `${e.networkId}|${view.peers.get(e.nodeId)?.vtep ?? ''}`;

function endpointPart(before: NetworkView, after: NetworkView, known: Desired, changed: readonly string[]) {
  const old = changed.flatMap((key) => before.endpoints.get(key) ?? []);
  const now = changed.flatMap((key) => after.endpoints.get(key) ?? []);
  const [wanted, last] = [new StateBuilder(), new StateBuilder()];
  planEndpoints(last, { ...before, endpoints: listed(old) });
  // An address or MAC may have passed from one endpoint to another: what stays is planned with what comes.
  const crowded = new Set(old.map((e) => placeOf(before, e)));
  planEndpoints(wanted, { ...after, endpoints: listed([...witnesses(after, crowded), ...now]) });
  const seen = new StateBuilder();
  for (const state of [wanted, seen]) for (const place of ['root', 'fabric'] as const) state.netns.add(place);
  for (const map of [wanted, last]) {
    for (const key of map.fdb.keys()) if (known.fdb.has(key)) seen.fdb.set(key, known.fdb.get(key)!);
    for (const key of map.neighbours.keys())
      if (known.neighbours.has(key)) seen.neighbours.set(key, known.neighbours.get(key)!);
  }
  const ends = [...after.networks.values()].map(({ vni }) =>
    linkKey({ place: 'fabric', name: vxlanName(vni) }),
  );
  for (const key of [...ends, linkKey({ place: 'root', name: INGRESS_LINK })]) {
    const link = known.links.get(key);
    for (const state of link ? [wanted, seen] : []) state.links.set(key, link!);
  }
  return { wanted, seen, settle: () => settleEndpoints(known, wanted, seen) };
}

/** One endpoint for each place that lost one, if there is any left: it keeps the flood entry. */
function witnesses(after: NetworkView, places: Set<string>): EndpointItem[] {
  const found: EndpointItem[] = [];
  const missing = new Set(places);
  for (const endpoint of missing.size > 0 ? after.endpoints.values() : [])
    if (missing.delete(placeOf(after, endpoint))) found.push(endpoint);
    else if (missing.size === 0) break;
  return found;
}

const listed = (endpoints: readonly EndpointItem[]): Map<string, EndpointItem> =>
  new Map(endpoints.map((endpoint, n) => [String(n), endpoint]));

function settleEndpoints(known: Desired, wanted: StateBuilder, seen: StateBuilder): void {
  for (const kind of ['fdb', 'neighbours'] as const) {
    const map = known[kind] as Map<string, unknown>;
    for (const key of seen[kind].keys()) if (!wanted[kind].has(key)) map.delete(key);
    for (const [key, value] of wanted[kind]) map.set(key, value);
  }
}

/** What one table has to do with the touched services. */
interface TablePart {
  readonly place: Place;
  readonly table: NftTable;
  readonly wanted: NftState;
  readonly seen: NftState;
  readonly seenFrontends: ReadonlyMap<string, Frontend>;
}

function tableParts(
  before: NetworkView,
  after: NetworkView,
  known: Desired,
  facts: Facts,
  services: ReadonlySet<string>,
  sandboxes: readonly SandboxRecord[],
): readonly TablePart[] {
  if (services.size === 0) return [];
  const [was, now] = [only(before, services), only(after, services)];
  const surroundings = surroundingsOf(after, facts);
  const [rotationWas, rotationNow] = [rotationOf(was), rotationOf(now)];
  const parts = [tablePart('root', planNft(was, surroundings, []), planNft(now, surroundings, []), known)];
  for (const record of sandboxes) {
    const old = planSandboxTable(record, was, rotationWas);
    const table = planSandboxTable(record, now, rotationNow);
    if (old.frontends.size + table.frontends.size > 0)
      parts.push(tablePart(record.spec.id, old, table, known));
  }
  return parts;
}

function tablePart(place: Place, old: NftTable, table: NftTable, known: Desired): TablePart {
  const frontends = known.tables.get(place)?.frontends ?? new Map<string, Frontend>();
  const keys = new Set([...old.frontends.keys(), ...table.frontends.keys()]);
  const seenFrontends = new Map([...keys].flatMap((key) => pick(frontends, key)));
  const wanted = nftStateOf(table);
  // The fixed part is none of a delta's business.
  const seen = { ...nftStateOf({ ...table, bases: [], frontends: seenFrontends }), fixed: wanted.fixed };
  return { place, table, wanted, seen, seenFrontends };
}

const sameKeys = (a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean =>
  a.size === b.size && [...a.keys()].every((key) => b.has(key));

const pick = <K, V>(map: ReadonlyMap<K, V>, key: K): [K, V][] => {
  const value = map.get(key);
  return value === undefined ? [] : [[key, value]];
};

/** The view of these services alone. Every change passes the endpoints here: nothing is made of those left out. */
function only(view: NetworkView, services: ReadonlySet<string>): NetworkView {
  const kept = [...services].flatMap((id) => pick(view.services, id as ServiceId));
  const endpoints = new Map<string, EndpointItem>();
  for (const [key, endpoint] of view.endpoints)
    if (endpoint.serviceId && services.has(endpoint.serviceId)) endpoints.set(key, endpoint);
  return { ...view, services: new Map(kept), endpoints };
}

function settleTable(known: Desired, { place, table, wanted, seen, seenFrontends }: TablePart): void {
  const frontends = known.tables.get(place)!.frontends as Map<string, Frontend>;
  for (const key of seenFrontends.keys()) frontends.delete(key);
  for (const [key, frontend] of table.frontends) frontends.set(key, frontend);
  for (const kind of ['chains', 'published', 'counts', 'slots'] as const) {
    const map = known.nft.get(place)![kind] as Map<string, string>;
    for (const key of seen[kind].keys()) map.delete(key);
    for (const [key, value] of wanted[kind]) map.set(key, value);
  }
}
