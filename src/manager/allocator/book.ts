/**
 * What is taken: addresses by network, MACs of ingress endpoints, published ports. Follows the view change by
 * change and can be rebuilt from it; planners read it and never write to it, so a failed transaction leaves no trace.
 */
import { addressOf, parseCidr } from '../../kit/cidr.ts';
import type { InterfaceAddress, Ipv4, NetworkId, ServiceId } from '../../model/ids.ts';
import type { Network, Node, Service, Task } from '../../model/objects.ts';
import type { PortSpec } from '../../model/spec.ts';
import type { Transition, View } from '../../store/view.ts';
import { hasEnded, ingressPorts, olderFirst, timeOf } from '../task.ts';
import { AddressPool } from './address-pool.ts';

interface Stand {
  readonly networkId: NetworkId;
  readonly address: InterfaceAddress;
}

export const portKey = (port: Pick<PortSpec, 'Protocol'>, published: number): string =>
  `${published}/${port.Protocol}`;

export class Book {
  readonly #pools = new Map<NetworkId, AddressPool>();
  readonly #ports = new Map<string, ServiceId>();
  readonly #macs = new Map<string, string>();
  /** Grows whenever something is given back. */
  releases = 0;

  rebuild(view: View, now: number): void {
    const quarantined = new Map(this.#pools);
    this.#pools.clear();
    this.#ports.clear();
    this.#macs.clear();
    for (const network of view.all('network').values()) this.#network(network, quarantined.get(network.id));
    for (const node of view.all('node').values()) this.#node(undefined, node, now);
    for (const service of view.all('service').values()) this.#service(undefined, service, now);
    const tasks = [...view.all('task').values()].sort(olderFirst);
    for (const task of tasks) this.#task(undefined, task, now);
    for (const task of tasks.filter(hasEnded)) this.#quarantineOf(task);
  }

  follow(transition: Transition, now: number): void {
    const { before, after } = transition;
    if (transition.kind === 'task') this.#task(before as Task, after as Task, now);
    else if (transition.kind === 'service') this.#service(before as Service, after as Service, now);
    else if (transition.kind === 'node') this.#node(before as Node, after as Node, now);
    else if (transition.kind === 'network') {
      if (!after) this.#pools.delete(transition.id);
      else this.#network(after as Network, this.#pools.get(transition.id));
    }
  }

  pool(id: NetworkId): AddressPool | undefined {
    return this.#pools.get(id);
  }

  portOwner(key: string): ServiceId | undefined {
    return this.#ports.get(key);
  }

  macOwner(mac: string): string | undefined {
    return this.#macs.get(mac);
  }

  /** A pool lives as long as its network: what is in quarantine stays there through a rebuild. */
  #network(network: Network, known: AddressPool | undefined): void {
    if (!network.state) return;
    const { subnet, ipRange, gateway } = network.state;
    const auxiliary = Object.values(network.spec.IPAM?.Config?.[0]?.AuxiliaryAddresses ?? {}) as Ipv4[];
    this.#pools.set(
      network.id,
      known ?? new AddressPool(subnet, ipRange && parseCidr(ipRange), [gateway, ...auxiliary]),
    );
  }

  #task(before: Task | undefined, after: Task | undefined, now: number): void {
    const stands = (task: Task | undefined) => (task && !hasEnded(task) ? task.attachments : []);
    this.#stands((before ?? after)!.id, stands(before), stands(after), now);
  }

  /** What a leader before us saw released (the reaper keeps such tasks as long as that matters). */
  #quarantineOf(task: Task): void {
    for (const { networkId, address } of task.attachments)
      this.#pools.get(networkId)?.remember(addressOf(address), timeOf(task.status.timestamp));
  }

  #node(before: Node | undefined, after: Node | undefined, now: number): void {
    const { id } = (before ?? after)!;
    this.#stands(id, before?.attachments ?? [], after?.attachments ?? [], now);
    for (const { mac } of before?.attachments ?? []) if (this.#macs.get(mac) === id) this.#macs.delete(mac);
    for (const { mac } of after?.attachments ?? []) this.#macs.set(mac, id);
  }

  #service(before: Service | undefined, after: Service | undefined, now: number): void {
    const { id } = (before ?? after)!;
    this.#stands(id, before?.endpoint?.virtualIps ?? [], after?.endpoint?.virtualIps ?? [], now);
    for (const port of ingressPorts(before?.endpoint?.ports))
      if (this.#ports.get(portKey(port, port.PublishedPort!)) === id)
        this.#ports.delete(portKey(port, port.PublishedPort!));
    for (const port of ingressPorts(after?.endpoint?.ports))
      this.#ports.set(portKey(port, port.PublishedPort!), id);
    const kept = new Set(
      ingressPorts(after?.endpoint?.ports).map((port) => portKey(port, port.PublishedPort!)),
    );
    if (ingressPorts(before?.endpoint?.ports).some((port) => !kept.has(portKey(port, port.PublishedPort!))))
      this.releases += 1;
  }

  #stands(owner: string, before: readonly Stand[], after: readonly Stand[], now: number): void {
    if (before === after) return;
    const key = (s: Stand) => `${s.networkId}/${s.address}`;
    const kept = new Set(after.map(key));
    const had = new Set(before.map(key));
    for (const s of before) {
      if (kept.has(key(s))) continue;
      this.#pools.get(s.networkId)?.release(addressOf(s.address), owner, now);
      this.releases += 1;
    }
    for (const s of after)
      if (!had.has(key(s))) this.#pools.get(s.networkId)?.hold(addressOf(s.address), owner);
  }
}
