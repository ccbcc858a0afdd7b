/**
 * The hot change: endpoints and services that came, went or changed while everything else stood still. Plans just the
 * objects that hang on them, against what is known of the kernel, with the same planners and the same difference. Pure.
 *
 * Cost: two passes over the endpoints that compare identities (about a millisecond at 15,000), where a whole plan
 * makes and compares every object (about 100 ms).
 */
import type { EndpointItem, NetworkView } from '../model/network-view.ts';
import { diff, type Step } from './diff-plan.ts';
import { type NftTable, nftStateOf, planNft, portKey } from './nft-plan.ts';
import { type Desired, type Facts, gatewayCidr, planEndpoints } from './plan.ts';
import { linkKey, type NftState, type PublishedPort, StateBuilder } from './state.ts';
import { INGRESS_LINK, vxlanName } from './link-names.ts';

export interface DeltaPlan {
  readonly steps: readonly Step[];
  /** Brings the known state to where the steps bring the kernel. Called once they are taken. */
  readonly settle: () => void;
}

/** undefined: more changed than endpoints and services; plan the whole. */
export function planDelta(
  before: NetworkView,
  after: NetworkView,
  known: Desired,
  facts: Facts,
): DeltaPlan | undefined {
  if (before.self !== after.self && JSON.stringify(before.self) !== JSON.stringify(after.self))
    return undefined;
  if (changedKeys(before.peers, after.peers).length > 0) return undefined;
  if (changedKeys(before.networks, after.networks).length > 0) return undefined;
  const endpoints = changedKeys(before.endpoints, after.endpoints);
  const services = touchedServices(before, after, endpoints);
  const ends = endpointPart(before, after, known, endpoints);
  const mesh = meshPart(before, after, known, facts, services);
  const steps = diff(
    Object.assign(ends.wanted, { table: mesh.table, nft: mesh.wanted }),
    Object.assign(ends.seen, { nft: mesh.seen }),
  );
  return { steps, settle: () => void (ends.settle(), mesh.settle()) };
}

/** Keys whose value is not the same; values are compared by what they say only when they are not one object. */
function changedKeys<K, V>(before: ReadonlyMap<K, V>, after: ReadonlyMap<K, V>): K[] {
  const keys: K[] = [];
  for (const [key, value] of after) {
    const old = before.get(key);
    if (old !== value && (old === undefined || JSON.stringify(old) !== JSON.stringify(value))) keys.push(key);
  }
  for (const key of before.keys()) if (!after.has(key)) keys.push(key);
  return keys;
}

function touchedServices(before: NetworkView, after: NetworkView, endpoints: readonly string[]): Set<string> {
  const services = new Set<string>(changedKeys(before.services, after.services));
  for (const key of endpoints)
    for (const endpoint of [before.endpoints.get(key), after.endpoints.get(key)])
      if (endpoint?.serviceId && after.networks.get(endpoint.networkId)?.ingress)
        services.add(endpoint.serviceId);
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

function meshPart(
  before: NetworkView,
  after: NetworkView,
  known: Desired,
  facts: Facts,
  services: ReadonlySet<string>,
) {
  const only = (view: NetworkView): NetworkView => ({
    ...view,
    services: new Map([...services].flatMap((id) => pick(view.services, id))),
    endpoints: services.size === 0 ? new Map() : endpointsOf(view, services),
  });
  const table = planNft(only(after), gatewayCidr(facts), []);
  const keys = new Set([...table.ports.keys(), ...portsOf(before, services)]);
  const seenPorts = new Map([...keys].flatMap((key) => pick(known.table.ports, key)));
  const wanted = nftStateOf(table);
  const seen = { ...nftStateOf({ bases: [], ports: seenPorts }), bases: wanted.bases };
  return { table, wanted, seen, settle: () => settleMesh(known, table, wanted, seenPorts, seen) };
}

const pick = <K extends string, V>(map: ReadonlyMap<K, V>, key: string): [K, V][] => {
  const value = map.get(key as K);
  return value === undefined ? [] : [[key as K, value]];
};

function endpointsOf(view: NetworkView, services: ReadonlySet<string>): Map<string, EndpointItem> {
  const found = new Map<string, EndpointItem>();
  for (const [key, endpoint] of view.endpoints)
    if (endpoint.serviceId && services.has(endpoint.serviceId)) found.set(key, endpoint);
  return found;
}

const portsOf = (view: NetworkView, services: ReadonlySet<string>): string[] =>
  [...services].flatMap((id) =>
    pick(view.services, id).flatMap(([, service]) =>
      service.ingressPorts.map((p) => portKey({ protocol: p.Protocol, port: p.PublishedPort ?? 0 })),
    ),
  );

function settleMesh(
  known: Desired,
  table: NftTable,
  wanted: NftState,
  seenPorts: ReadonlyMap<string, PublishedPort>,
  seen: NftState,
): void {
  const ports = known.table.ports as Map<string, PublishedPort>;
  for (const key of seenPorts.keys()) ports.delete(key);
  for (const [key, port] of table.ports) ports.set(key, port);
  for (const kind of ['chains', 'published', 'slots'] as const) {
    const map = known.nft[kind] as Map<string, string>;
    for (const key of seen[kind].keys()) map.delete(key);
    for (const [key, value] of wanted[kind]) map.set(key, value);
  }
}
