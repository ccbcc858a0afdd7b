/**
 * From what is to what should be: the steps, in an order in which each can be taken and after each of which the rest
 * is still right. Pure.
 *
 * INVARIANT: a link that is made or loses its bridge loses what hung on it (addresses, neighbours, FDB entries, port
 * flags); those count as missing even if they were seen a moment before.
 */
import type { Desired } from './plan.ts';
import { diffNft, type NftStep } from './nft-diff-plan.ts';
import {
  type Address,
  type DefaultRoute,
  type FdbEntry,
  type KernelState,
  type Link,
  linkKey,
  type MarkRule,
  type Neighbour,
  type Place,
  type Sysctl,
} from './state.ts';

export type Step =
  | { readonly kind: 'netns.create'; readonly place: Place }
  | { readonly kind: 'sysctl.set'; readonly place: Place; readonly sysctl: Sysctl }
  | { readonly kind: 'link.delete'; readonly place: Place; readonly name: string }
  /** `peer` is the other end of a veth. */
  | {
      readonly kind: 'link.create';
      readonly place: Place;
      readonly link: Link;
      readonly peer: Link | undefined;
    }
  | { readonly kind: 'link.set'; readonly place: Place; readonly link: Link }
  | { readonly kind: 'port.set'; readonly place: Place; readonly link: Link }
  | { readonly kind: 'address.delete' | 'address.add'; readonly place: Place; readonly address: Address }
  | { readonly kind: 'route.delete' | 'route.set'; readonly place: Place; readonly route: DefaultRoute }
  | { readonly kind: 'mark-rule.delete' | 'mark-rule.add'; readonly place: Place; readonly rule: MarkRule }
  | {
      readonly kind: 'neighbour.delete' | 'neighbour.set';
      readonly place: Place;
      readonly neighbour: Neighbour;
    }
  | { readonly kind: 'fdb.delete' | 'fdb.set'; readonly place: Place; readonly fdb: FdbEntry }
  | NftStep;

export type StepKind = Step['kind'];

/** The order in which steps are taken. */
const ORDER: readonly StepKind[] = [
  'netns.create',
  'link.delete',
  'sysctl.set',
  'link.create',
  'link.set',
  'port.set',
  'address.delete',
  'address.add',
  'route.delete',
  'route.set',
  'mark-rule.delete',
  'mark-rule.add',
  'fdb.delete',
  'fdb.set',
  'neighbour.delete',
  'neighbour.set',
  'nft.base',
  'nft.frontends',
];

/** What is wanted; `tables` where nftables tables take part. */
export type Wanted = KernelState & Partial<Pick<Desired, 'tables' | 'kept'>>;

export function diff(desired: Wanted, observed: KernelState): readonly Step[] {
  const steps: Step[] = [];
  for (const place of desired.netns)
    if (!observed.netns.has(place)) steps.push({ kind: 'netns.create', place });
  const links = diffLinks(desired, observed);
  steps.push(...links.steps);
  steps.push(...diffSysctls(desired, observed, links.fresh));
  steps.push(...diffAttached(desired, observed, links));
  for (const [place, table] of desired.tables ?? [])
    steps.push(...diffNft(place, table, desired.nft.get(place)!, observed.nft.get(place)));
  return sorted(steps);
}

/** A stable sort: steps of one kind stay in the order of their plan. Link sysctls come when the links are there. */
function sorted(steps: Step[]): Step[] {
  const rank = (step: Step): number =>
    step.kind === 'sysctl.set' && isLinkSysctl(step.sysctl)
      ? ORDER.indexOf('port.set')
      : ORDER.indexOf(step.kind);
  return steps
    .map((step) => ({ step, rank: rank(step) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ step }) => step);
}

const LINK_SYSCTL = /^net\/ipv4\/conf\/(?!all\/|default\/)([^/]+)\//;
const isLinkSysctl = (sysctl: Sysctl): boolean => LINK_SYSCTL.test(sysctl.key);

interface LinkDiff {
  readonly steps: readonly Step[];
  /** Made anew: nothing hangs on them. */
  readonly fresh: ReadonlySet<string>;
  /** Made anew or put on a bridge anew: no flags and no FDB entries as a port. */
  readonly moved: ReadonlySet<string>;
}

function diffLinks(desired: Wanted, observed: KernelState): LinkDiff {
  const steps: Step[] = [];
  const fresh = freshLinks(desired, observed);
  const moved = new Set<string>(fresh);
  for (const link of observed.links.values()) {
    const key = linkKey(link);
    if (desired.kept?.has(key) || !observed.netns.has(link.place)) continue;
    if (!desired.links.has(key) || (fresh.has(key) && !isPeerOf(desired.links.get(key)!, steps)))
      steps.push({ kind: 'link.delete', place: link.place, name: link.name });
  }
  for (const link of byKind(desired.links.values())) {
    const key = linkKey(link);
    const seen = observed.links.get(key);
    if (fresh.has(key)) steps.push(...creation(link, desired, steps));
    else if (!seen || differs(link, seen, fresh)) {
      if (!seen || masterDiffers(link, seen, fresh)) moved.add(key);
      steps.push({ kind: 'link.set', place: link.place, link });
    }
    const flags = moved.has(key) ? undefined : seen?.port;
    if (link.port && !samePort(link.port, flags)) steps.push({ kind: 'port.set', place: link.place, link });
  }
  return { steps, fresh, moved };
}

/** Bridges before the links that join them. */
const byKind = (links: Iterable<Link>): Link[] => {
  const all = [...links];
  return [...all.filter((l) => l.type.kind === 'bridge'), ...all.filter((l) => l.type.kind !== 'bridge')];
};

/** Missing or of another kind; with a veth its other end. */
function freshLinks(desired: Wanted, observed: KernelState): Set<string> {
  const fresh = new Set<string>();
  for (const link of desired.links.values()) {
    const seen = observed.links.get(linkKey(link));
    if (seen && observed.netns.has(link.place) && sameKind(link, seen)) continue;
    if (link.type.kind === 'other') continue;
    fresh.add(linkKey(link));
    if (link.type.kind === 'veth') fresh.add(linkKey(link.type.peer));
  }
  return fresh;
}

function sameKind(link: Link, seen: Link): boolean {
  if (link.type.kind !== seen.type.kind) return false;
  if (link.type.kind !== 'vxlan' || seen.type.kind !== 'vxlan') return true;
  return (
    link.type.vni === seen.type.vni &&
    link.type.local === seen.type.local &&
    link.type.port === seen.type.port
  );
}

/** The other end of a veth that is deleted already goes with it. */
const isPeerOf = (link: Link, steps: readonly Step[]): boolean => {
  const peer = link.type.kind === 'veth' ? link.type.peer : undefined;
  return (
    peer !== undefined &&
    steps.some((s) => s.kind === 'link.delete' && s.place === peer.place && s.name === peer.name)
  );
};

function creation(link: Link, desired: Wanted, steps: readonly Step[]): Step[] {
  const peer = link.type.kind === 'veth' ? desired.links.get(linkKey(link.type.peer)) : undefined;
  const made = (l: Link) => steps.some((s) => s.kind === 'link.create' && (s.link === l || s.peer === l));
  return made(link) ? [] : [{ kind: 'link.create', place: link.place, link, peer }];
}

const masterDiffers = (link: Link, seen: Link, fresh: ReadonlySet<string>): boolean =>
  link.master !== seen.master ||
  (link.master !== undefined && fresh.has(linkKey({ place: link.place, name: link.master })));

const differs = (link: Link, seen: Link, fresh: ReadonlySet<string>): boolean =>
  (link.mac !== undefined && link.mac !== seen.mac) ||
  link.mtu !== seen.mtu ||
  link.up !== seen.up ||
  masterDiffers(link, seen, fresh);

const samePort = (a: NonNullable<Link['port']>, b: Link['port']): boolean =>
  b !== undefined && a.learning === b.learning && a.flood === b.flood && a.isolated === b.isolated;

/** What stands in a sandbox is furnished before its loopback goes up; what its container sets from then on is its own. */
const isFurnished = (observed: KernelState, place: Place): boolean =>
  observed.links.get(linkKey({ place, name: 'lo' }))?.up ?? false;

function diffSysctls(desired: Wanted, observed: KernelState, fresh: ReadonlySet<string>): Step[] {
  const steps: Step[] = [];
  for (const [key, sysctl] of desired.sysctls) {
    if (isFurnished(observed, sysctl.place)) continue;
    const link = LINK_SYSCTL.exec(sysctl.key)?.[1];
    const reset = link !== undefined && fresh.has(linkKey({ place: sysctl.place, name: link }));
    if (reset || observed.sysctls.get(key)?.value !== sysctl.value)
      steps.push({ kind: 'sysctl.set', place: sysctl.place, sysctl });
  }
  return steps;
}

/** Everything that hangs on links. */
function diffAttached(desired: Wanted, observed: KernelState, links: LinkDiff): Step[] {
  const gone = (place: Place, link: string) => links.fresh.has(linkKey({ place, name: link }));
  const lost = (f: FdbEntry) =>
    (f.vtep ? links.fresh : links.moved).has(linkKey({ place: f.place, name: f.link }));
  // What hung on a link that is deleted went with it.
  const dead = (place: Place, link: string) =>
    !desired.links.has(linkKey({ place, name: link })) && !observed.links.has(linkKey({ place, name: link }));
  const isKept = (place: Place, link: string) => desired.kept?.has(linkKey({ place, name: link })) ?? false;
  const removable = (place: Place, link: string) =>
    desired.links.has(linkKey({ place, name: link })) && !dead(place, link) && !isKept(place, link);
  const steps: Step[] = [];
  const address = changes(
    desired.addresses,
    observed.addresses,
    (a) => gone(a.place, a.link),
    () => true,
  );
  for (const a of address.removed)
    if (removable(a.place, a.link)) steps.push({ kind: 'address.delete', place: a.place, address: a });
  for (const a of address.set) steps.push({ kind: 'address.add', place: a.place, address: a });
  const route = changes(
    desired.routes,
    observed.routes,
    (r) => gone(r.place, r.link),
    (a, b) => a.link === b.link && a.via === b.via && a.source === b.source,
  );
  for (const r of route.removed)
    if (removable(r.place, r.link)) steps.push({ kind: 'route.delete', place: r.place, route: r });
  for (const r of route.set) steps.push({ kind: 'route.set', place: r.place, route: r });
  const markRule = changes(
    desired.markRules,
    observed.markRules,
    () => false,
    () => true,
  );
  for (const rule of markRule.removed)
    if (desired.netns.has(rule.place)) steps.push({ kind: 'mark-rule.delete', place: rule.place, rule });
  for (const rule of markRule.set) steps.push({ kind: 'mark-rule.add', place: rule.place, rule });
  const neighbour = changes(
    desired.neighbours,
    observed.neighbours,
    (n) => gone(n.place, n.link),
    (a, b) => a.mac === b.mac,
  );
  for (const n of neighbour.removed)
    if (removable(n.place, n.link)) steps.push({ kind: 'neighbour.delete', place: n.place, neighbour: n });
  for (const n of neighbour.set) steps.push({ kind: 'neighbour.set', place: n.place, neighbour: n });
  const fdb = changes(desired.fdb, observed.fdb, lost, (a, b) => a.vtep === b.vtep);
  for (const f of fdb.removed)
    if (removable(f.place, f.link)) steps.push({ kind: 'fdb.delete', place: f.place, fdb: f });
  for (const f of fdb.set) steps.push({ kind: 'fdb.set', place: f.place, fdb: f });
  return steps;
}

function changes<T>(
  desired: ReadonlyMap<string, T>,
  observed: ReadonlyMap<string, T>,
  lost: (value: T) => boolean,
  same: (a: T, b: T) => boolean,
): { readonly set: readonly T[]; readonly removed: readonly T[] } {
  const set: T[] = [];
  const removed: T[] = [];
  for (const [key, value] of desired) {
    const seen = observed.get(key);
    if (seen === undefined || lost(value) || !same(value, seen)) set.push(value);
  }
  for (const [key, value] of observed) if (!desired.has(key) && !lost(value)) removed.push(value);
  return { set, removed };
}
