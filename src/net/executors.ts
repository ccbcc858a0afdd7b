/**
 * The effects: one executor for each kind of step, each taking a run of steps of that kind in one place, so that a
 * thousand entries are one conversation with the kernel.
 */
import { addressOf, prefixLength } from '../kit/cidr.ts';
import type { Ipv4 } from '../model/ids.ts';
import type { Protocol } from '../model/spec.ts';
import type { Step, StepKind } from './diff-plan.ts';
import type { FrontendChanges } from './nft-diff-plan.ts';
import { removeChainText, removeTableText, replaceChainText, tableText } from './nft-text.ts';
import { forgetUdp } from './conntrack.ts';
import * as nf from './nfnetlink.ts';
import type { Message } from './netlink.ts';
import type { Places } from './places.ts';
import * as rt from './rtnetlink.ts';
import { type Link, type Place, type RoundRobin, ZERO_MAC } from './state.ts';

/** The member of `Step` that has this kind, be it one of several. */
type StepOf<K extends StepKind, S = Step> = S extends { readonly kind: infer Kinds }
  ? K extends Kinds
    ? S
    : never
  : never;
export type Executors = { readonly [K in StepKind]: (steps: readonly StepOf<K>[], place: Place) => void };

export function makeExecutors(places: Places): Executors {
  const send = (place: Place, messages: readonly Message[]) => places.route(place).request(messages);
  const index = (place: Place, link: string) => places.index(place, link);
  return {
    'netns.create': (steps) => steps.forEach(({ place }) => places.create(place)),
    'sysctl.set': (steps) =>
      steps.forEach(({ place, sysctl }) => places.writeSysctl(place, sysctl.key, sysctl.value)),
    'link.delete': (steps) => steps.forEach(({ place, name }) => deleteLink(places, place, name)),
    'link.create': (steps) => steps.forEach(({ link, peer }) => createLink(places, link, peer)),
    'link.set': (steps, place) =>
      send(
        place,
        steps.map(({ link }) => changeLink(places, link)),
      ),
    'port.set': (steps, place) =>
      send(
        place,
        steps.map(({ link }) => rt.setPort(index(place, link.name), link.name, link.port!)),
      ),
    'address.add': (steps, place) =>
      send(
        place,
        steps.map(({ address: { link, address } }) =>
          rt.addAddress(index(place, link), link, addressOf(address), prefixLength(address)),
        ),
      ),
    'address.delete': (steps, place) =>
      send(
        place,
        steps.map(({ address: { link, address } }) =>
          rt.deleteAddress(index(place, link), link, addressOf(address), prefixLength(address)),
        ),
      ),
    'route.set': (steps, place) =>
      send(
        place,
        steps.map(({ route }) => rt.setDefaultRoute(index(place, route.link), route.link, route)),
      ),
    'route.delete': (steps, place) =>
      send(
        place,
        steps.map(({ route }) => rt.deleteDefaultRoute(index(place, route.link), route.link, route)),
      ),
    'mark-rule.add': (steps, place) =>
      send(
        place,
        steps.map(({ rule }) => rt.addMarkRule(rule.mark)),
      ),
    'mark-rule.delete': (steps, place) =>
      send(
        place,
        steps.map(({ rule }) => rt.deleteMarkRule(rule.mark)),
      ),
    'neighbour.set': (steps, place) =>
      send(
        place,
        steps.map(({ neighbour: { link, ip, mac } }) => rt.setNeighbour(index(place, link), link, ip, mac)),
      ),
    'neighbour.delete': (steps, place) =>
      send(
        place,
        steps.map(({ neighbour: { link, ip } }) => rt.deleteNeighbour(index(place, link), link, ip)),
      ),
    'fdb.set': (steps, place) =>
      send(
        place,
        steps.map(({ fdb: { link, mac, vtep } }) =>
          rt.setFdb(index(place, link), link, mac, vtep, mac === ZERO_MAC),
        ),
      ),
    'fdb.delete': (steps, place) =>
      send(
        place,
        steps.map(({ fdb: { link, mac, vtep } }) => rt.deleteFdb(index(place, link), link, mac, vtep)),
      ),
    'nft.base': (steps, place) =>
      places.withNft(place, (nft) => steps.forEach((step) => nft.run(baseText(step)))),
    'nft.frontends': (steps, place) => steps.forEach(({ changes }) => program(places, place, changes)),
  };
}

/** Runs of one kind in one place, in order. */
export function* runs(steps: readonly Step[]): Generator<readonly [Step, ...Step[]]> {
  let run: Step[] = [];
  for (const step of steps) {
    const first = run[0];
    if (first && (first.kind !== step.kind || first.place !== step.place)) {
      yield run as [Step, ...Step[]];
      run = [];
    }
    run.push(step);
  }
  if (run.length > 0) yield run as [Step, ...Step[]];
}

export function execute<K extends StepKind>(
  executors: Executors,
  kind: K,
  steps: readonly Step[],
  place: Place,
): void {
  executors[kind](steps as readonly StepOf<K>[], place);
}

function deleteLink(places: Places, place: Place, name: string): void {
  if (!places.exists(place) || !tryIndex(places, place, name)) return;
  places.route(place).request([rt.deleteLink(places.index(place, name), name)]);
  places.forgetLink(place, name);
}

function tryIndex(places: Places, place: Place, name: string): number | undefined {
  places.forgetLink(place, name);
  try {
    return places.index(place, name);
  } catch {
    return undefined;
  }
}

/**
 * One message makes the link where it belongs, both ends of a veth at once, with MAC and MTU. A VXLAN device is made from
 * the root namespace, and so has its underlay socket there. A death before the second message leaves a link
 * without its bridge, which the next difference sees.
 */
function createLink(places: Places, link: Link, peer: Link | undefined): void {
  for (const end of peer ? [link, peer] : [link]) deleteLink(places, end.place, end.name);
  const socket = places.route(link.type.kind === 'vxlan' ? 'root' : link.place);
  places.withFd(link.place, (fd) => {
    const made = { ...linkMessage(link), netnsFd: fd };
    switch (link.type.kind) {
      case 'bridge':
        return socket.request([rt.addBridge(made)]);
      case 'vxlan':
        return socket.request([rt.addVxlan(made, link.type)]);
      case 'veth':
        return places.withFd(peer!.place, (peerFd) =>
          socket.request([rt.addVeth(made, { ...linkMessage(peer!), netnsFd: peerFd, up: false })]),
        );
      case 'other':
        return undefined;
    }
  });
  // A bridge is named by its index, which only its own namespace knows; a veth's second end can not come up before
  // it is tied to the first.
  for (const end of peer ? [link, peer] : [link])
    if (end.master || end === peer) places.route(end.place).request([changeLink(places, end)]);
}

const linkMessage = (link: Link): rt.LinkMessage => ({
  name: link.name,
  ...(link.mac && { mac: link.mac }),
  mtu: link.mtu,
  up: link.up,
});

function changeLink(places: Places, link: Link): Message {
  const master = link.master ? places.index(link.place, link.master) : 0;
  const { mtu, ...rest } = linkMessage(link);
  const isLoopback = link.type.kind === 'other';
  return rt.setLink(places.index(link.place, link.name), {
    ...rest,
    ...(!isLoopback && { master, mtu: mtu! }),
  });
}

function baseText(step: StepOf<'nft.base'>): string {
  if (step.table) return removeTableText + tableText(step.table);
  return [
    ...step.remove.map(removeChainText),
    ...step.replace.map(({ chain, exists }) => replaceChainText(chain, exists)),
  ].join('');
}

function program(places: Places, place: Place, changes: FrontendChanges): void {
  places.withFilter(place, (socket) => {
    socket.request(nf.transaction(frontendMessages(changes)));
    if (changes.goneUdp.size > 0) forgetUdp(socket, changes.goneUdp);
  });
}

function frontendMessages(changes: FrontendChanges): Message[] {
  const rule = ([chain, roundRobin]: [string, RoundRobin]) =>
    nf.addRoundRobin(chain, nameOf(chain, '-'), roundRobin);
  return [
    ...[...changes.addChains].flatMap((entry) => [nf.addChain(entry[0]), rule(entry)]),
    ...[...changes.setChains].flatMap((entry) => [nf.flushChain(entry[0]), rule(entry)]),
    ...nf.deleteSlots(changes.deleteSlots.map(numberedOf)),
    ...nf.addSlots(
      [...changes.addSlots].map(([key, target]) => ({ ...numberedOf(key), target: targetOf(target) })),
    ),
    ...nf.deleteBound(changes.deleteBound.map(boundOf)),
    ...nf.addBound(
      [...changes.addBound].map(([key, target]) => ({ ...boundOf(key), target: targetOf(target) })),
    ),
    ...nf.deletePublished(changes.deletePublished.map(numberedOf)),
    ...nf.addPublished([...changes.addPublished].map(([key, chain]) => ({ ...numberedOf(key), chain }))),
    ...nf.deleteCounts(changes.deleteCounts.map((key) => nameOf(key))),
    ...nf.addCounts(
      [...changes.addCounts].map(([key, count]) => ({ name: nameOf(key), count: Number(count) })),
    ),
    ...changes.deleteChains.flatMap((chain) => [nf.flushChain(chain), nf.deleteChain(chain)]),
  ];
}

/** `tcp/80/2`: a slot of a frontend, or its round robin over so many. */
function numberedOf(key: string): nf.Numbered {
  return { name: nameOf(key), number: Number(key.split('/')[2]) };
}

/** `tcp/80` or `vip/10.0.1.2`, or with dashes the name of a chain, and whatever follows. */
function nameOf(key: string, separator = '/'): nf.FrontendName {
  const [kind, what] = key.split(separator) as [string, string];
  if (kind === 'vip') return { kind: 'vip', address: what as Ipv4 };
  return { kind: 'port', protocol: kind as Protocol, port: Number(what) };
}

/** `tcp/127.0.0.1:80` */
function boundOf(key: string): nf.BoundName {
  const [protocol, address, port] = key.split(/[/:]/) as [Protocol, Ipv4, string];
  return { protocol, address, port: Number(port) };
}

function targetOf(target: string): nf.SlotTarget {
  const [address, port] = target.split(':');
  return { address: address as Ipv4, port: port === undefined ? undefined : Number(port) };
}
