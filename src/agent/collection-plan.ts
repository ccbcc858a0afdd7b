/**
 * Which images that tasks brought are given up: those that nothing here needs any more, after a time that leaves room for
 * a rollback, and sooner where the disk fills up. Pure.
 */
import type { TaskImage } from '../containerd/runtime.ts';

export interface CollectionPolicy {
  /** How long an image stays that nothing needs. */
  readonly keepMs: number;
  /** Share of the disk in use above which the longest unneeded go at once, and the share to come down to. */
  readonly high: number;
  readonly low: number;
}

export interface Disk {
  readonly total: number;
  readonly free: number;
}

export interface CollectionFacts {
  readonly images: readonly TaskImage[];
  /** Full names that tasks of this node refer to, whether they have a container already or not. */
  readonly needed: ReadonlySet<string>;
  /** Since when the images that the last pass found unneeded are so. */
  readonly since: ReadonlyMap<string, number>;
  readonly disk: Disk;
  readonly now: number;
}

export interface CollectionPlan {
  readonly collect: readonly TaskImage[];
  /** For the next pass. */
  readonly since: ReadonlyMap<string, number>;
  /** When the next image is due; undefined: none is unneeded. */
  readonly next: number | undefined;
}

export function planCollection(facts: CollectionFacts, policy: CollectionPolicy): CollectionPlan {
  const { images, needed, disk, now } = facts;
  const unneeded = images
    .filter((image) => !image.inUse && !image.names.some((name) => needed.has(name)))
    .map((image) => ({ image, since: facts.since.get(image.id) ?? now }))
    .sort((a, b) => a.since - b.since || (a.image.id < b.image.id ? -1 : 1));
  let wanted = bytesToFree(disk, policy);
  const collect: TaskImage[] = [];
  const since = new Map<string, number>();
  for (const one of unneeded) {
    if (wanted > 0 || one.since + policy.keepMs <= now) {
      collect.push(one.image);
      wanted -= one.image.size;
    } else since.set(one.image.id, one.since);
  }
  const first = since.size === 0 ? undefined : Math.min(...since.values());
  return { collect, since, next: first === undefined ? undefined : first + policy.keepMs };
}

function bytesToFree({ total, free }: Disk, { high, low }: CollectionPolicy): number {
  const used = total - free;
  return used > total * high ? used - total * low : 0;
}
