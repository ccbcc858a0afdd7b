/** The records as indexes: names and addresses of each network. Kept true record by record. */
import type { ContainerId, Ipv4, NetworkId } from '../model/ids.ts';
import type { DnsRecord, EndpointRecord, SandboxRecord, ServiceRecord } from './records.ts';

/** Names are compared without regard to case (RFC 4343). */
export const fold = (name: string): string => name.toLowerCase();

class NetworkNames {
  name = '';
  /** By name and by alias. */
  readonly services = new Map<string, Set<ServiceRecord>>();
  readonly containers = new Map<string, Set<EndpointRecord>>();
  readonly endpointsOf = new Map<string, Set<EndpointRecord>>();
  readonly addresses = new Map<Ipv4, Set<EndpointRecord>>();
  readonly virtualIps = new Map<Ipv4, Set<ServiceRecord>>();

  get empty(): boolean {
    return this.name === '' && this.services.size + this.addresses.size === 0;
  }
}

const UNKNOWN: NetworkNames = new NetworkNames();

export class Names {
  readonly #records = new Map<string, DnsRecord>();
  readonly #networks = new Map<NetworkId, NetworkNames>();
  readonly #sandboxes = new Map<ContainerId, SandboxRecord>();

  get records(): ReadonlyMap<string, DnsRecord> {
    return this.#records;
  }

  get sandboxes(): ReadonlyMap<ContainerId, SandboxRecord> {
    return this.#sandboxes;
  }

  /** Those that a record is of. */
  get networks(): ReadonlyMap<NetworkId, NetworkNames> {
    return this.#networks;
  }

  put(key: string, record: DnsRecord): void {
    this.delete(key);
    this.#records.set(key, record);
    this.#index(record, add);
    if (record.kind === 'network') this.#enter(record.id).name = fold(record.name);
    if (record.kind === 'sandbox') this.#sandboxes.set(record.id, record);
  }

  delete(key: string): void {
    const record = this.#records.get(key);
    if (!record) return;
    this.#records.delete(key);
    this.#index(record, remove);
    if (record.kind === 'sandbox') return void this.#sandboxes.delete(record.id);
    const id = record.kind === 'network' ? record.id : record.networkId;
    const network = this.#enter(id);
    if (record.kind === 'network') network.name = '';
    if (network.empty) this.#networks.delete(id);
  }

  /** Of one that nothing is known of: nothing. */
  network(id: NetworkId): Readonly<NetworkNames> {
    return this.#networks.get(id) ?? UNKNOWN;
  }

  #enter(id: NetworkId): NetworkNames {
    let network = this.#networks.get(id);
    if (!network) this.#networks.set(id, (network = new NetworkNames()));
    return network;
  }

  #index(record: DnsRecord, change: typeof add): void {
    if (record.kind === 'service') {
      const network = this.#enter(record.networkId);
      for (const name of [record.name, ...record.aliases]) change(network.services, fold(name), record);
      if (record.virtualIp) change(network.virtualIps, record.virtualIp, record);
    } else if (record.kind === 'endpoint') {
      const network = this.#enter(record.networkId);
      for (const name of record.names) change(network.containers, fold(name), record);
      change(network.addresses, record.address, record);
      if (record.serviceId) change(network.endpointsOf, record.serviceId, record);
    }
  }
}

function add<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  if (set) set.add(value);
  else index.set(key, new Set([value]));
}

function remove<K, V>(index: Map<K, Set<V>>, key: K, value: V): void {
  const set = index.get(key);
  set?.delete(value);
  if (set?.size === 0) index.delete(key);
}
