/** The records that the resolver needs of a network view, and what changes of them between two views. Pure. */
import type { DnsRecord, EndpointRecord, ServiceRecord } from '../dns/records.ts';
import type { NetworkId, TaskId } from '../model/ids.ts';
import { containerIdOf, type HashText } from '../model/names.ts';
import type { EndpointItem, NetworkView, ServiceItem } from '../model/network-view.ts';

export interface NamesDelta {
  readonly put: readonly (readonly [key: string, record: DnsRecord])[];
  readonly delete: readonly string[];
}

type Entry = readonly [key: string, record: DnsRecord];

/**
 * Cost: one comparison of identities an object, and the records of those that changed. `before` undefined: everything.
 * The ingress network has no names: it is the mesh's own.
 */
export function namesDelta(before: NetworkView | undefined, after: NetworkView, hash: HashText): NamesDelta {
  const changed = [
    difference(before?.networks, after.networks, (network): Entry[] =>
      network.ingress
        ? []
        : [[`network/${network.networkId}`, { kind: 'network', id: network.networkId, name: network.name }]],
    ),
    difference(before?.services, after.services, serviceEntries),
    difference(named(before), named(after)!, (endpoint, key): Entry[] => [
      [`endpoint/${key}`, endpointRecord(endpoint, hash)],
    ]),
  ];
  return { put: changed.flatMap((c) => c.put), delete: changed.flatMap((c) => c.delete) };
}

const isIngress = (view: NetworkView, id: NetworkId): boolean => view.networks.get(id)?.ingress ?? false;

/** Endpoints that have names: tasks, on networks of users. */
function named(view: NetworkView | undefined): ReadonlyMap<string, EndpointItem> | undefined {
  if (!view) return undefined;
  const endpoints = new Map<string, EndpointItem>();
  for (const [key, endpoint] of view.endpoints)
    if (endpoint.taskId && !isIngress(view, endpoint.networkId)) endpoints.set(key, endpoint);
  return endpoints;
}

function difference<K extends string, V>(
  before: ReadonlyMap<K, V> | undefined,
  after: ReadonlyMap<K, V>,
  entries: (value: V, key: K) => readonly Entry[],
): { put: Entry[]; delete: string[] } {
  const put: Entry[] = [];
  const gone: string[] = [];
  if (before === after) return { put, delete: gone };
  for (const [key, value] of after) {
    const old = before?.get(key);
    if (old === value) continue;
    const had = new Map(old === undefined ? [] : entries(old, key));
    for (const [name, record] of entries(value, key)) {
      const known = had.get(name);
      had.delete(name);
      if (!known || JSON.stringify(known) !== JSON.stringify(record)) put.push([name, record]);
    }
    gone.push(...had.keys());
  }
  for (const [key, value] of before ?? [])
    if (!after.has(key)) gone.push(...entries(value, key).map(([name]) => name));
  return { put, delete: gone };
}

const serviceEntries = (service: ServiceItem): Entry[] =>
  service.names.map(({ networkId, aliases }): Entry => {
    const record: ServiceRecord = {
      kind: 'service',
      id: service.serviceId,
      networkId,
      name: service.name,
      aliases,
      virtualIp: service.virtualIps.find((vip) => vip.networkId === networkId)?.address,
    };
    return [`service/${service.serviceId}/${networkId}`, record];
  });

const SHORT_ID = 12;

/** The aliases of a task's network are its service's; a container of no service has them for itself. */
const endpointRecord = (endpoint: EndpointItem, hash: HashText): EndpointRecord => ({
  kind: 'endpoint',
  networkId: endpoint.networkId,
  serviceId: endpoint.serviceId,
  address: endpoint.address,
  names: [
    endpoint.name,
    containerIdOf(endpoint.taskId as TaskId, hash).slice(0, SHORT_ID),
    ...(endpoint.serviceId ? [] : endpoint.aliases),
  ],
  inRotation: endpoint.inRotation,
});
