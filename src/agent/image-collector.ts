/**
 * Gives up images that tasks brought to this node and nothing needs any more (collection-plan.ts). What a person loaded,
 * pulled or tagged is never touched: the image store knows which names only tasks brought.
 *
 * INVARIANTS
 * - Nothing is given up before the first snapshot: only then is it known what is needed.
 * - Since when an image is unneeded is kept in memory: a restart gives it its whole time again, never less.
 * A pass costs one list of images and one of containers.
 */
import { statfs } from 'node:fs/promises';
import type { ContainerRuntime } from '../containerd/runtime.ts';
import { imageEvent } from '../containerd/container-event.ts';
import type { Clock } from '../kit/clock.ts';
import type { Tell } from '../kit/event-log.ts';
import type { Log } from '../kit/log.ts';
import { Loop, type Requeue } from '../kit/loop.ts';
import type { Assignments } from './assignments.ts';
import { type CollectionPolicy, type Disk, planCollection } from './collection-plan.ts';
import { neededImages } from './needed-images.ts';

export interface ImageCollectorOptions {
  readonly images: Pick<ContainerRuntime['images'], 'ofTasks' | 'forget'>;
  readonly assignments: Pick<Assignments, 'revision' | 'tasks'>;
  readonly policy: CollectionPolicy;
  readonly disk: () => Promise<Disk>;
  /** Hears what happens on this node. */
  readonly tell?: Tell;
  readonly clock: Clock;
  readonly log: Log;
}

export const DEFAULT_POLICY: CollectionPolicy = { keepMs: 3_600_000, high: 0.85, low: 0.8 };
const FULL_PASS_MS = 60_000;
/** Tasks come and go in bursts: one pass after each. */
const SETTLE_MS = 1_000;

export class ImageCollector {
  readonly #options: ImageCollectorOptions;
  readonly #loop: Loop<'images'>;
  #since: ReadonlyMap<string, number> = new Map();

  constructor(options: ImageCollectorOptions) {
    this.#options = options;
    this.#loop = new Loop<'images'>({
      name: 'image-collector',
      clock: options.clock,
      log: options.log,
      reconcile: () => this.#pass(),
      full: { interval: FULL_PASS_MS, keys: () => ['images'] },
    });
  }

  start(): void {
    this.#loop.start();
  }

  stop(): Promise<void> {
    return this.#loop.stop();
  }

  /** A task or a container of this node has come or gone. */
  mark(): void {
    this.#loop.markAfter('images', SETTLE_MS);
  }

  async #pass(): Promise<Requeue | void> {
    const { images, policy, disk, clock, log } = this.#options;
    if (this.#options.assignments.revision === undefined) return;
    const facts = { images: await images.ofTasks(), disk: await disk(), since: this.#since };
    const plan = planCollection(
      { ...facts, needed: neededImages(this.#options.assignments.tasks), now: clock.now() },
      policy,
    );
    this.#since = plan.since;
    for (const image of plan.collect) {
      // Looked at again just before: a task may have come while the others went.
      const needed = neededImages(this.#options.assignments.tasks);
      if (image.names.some((name) => needed.has(name))) continue;
      await images.forget(image);
      this.#options.tell?.(imageEvent('delete', { id: image.id, config: {} }));
      log.info('image that no task needs any more was removed', { image: image.names.join(' ') });
    }
    if (plan.next !== undefined) return { after: Math.max(SETTLE_MS, plan.next - clock.now()) };
  }
}

/** Of the file system that holds a folder. */
export async function diskOf(folder: string): Promise<Disk> {
  const { blocks, bavail, bsize } = await statfs(folder);
  return { total: blocks * bsize, free: bavail * bsize };
}
