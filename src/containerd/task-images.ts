/**
 * Which images only tasks brought here: a label on each name that a task's pull made. A name that a person pulls, loads
 * or tags loses it, and one that was there before a task's pull never gets it.
 */
import { type ContainerdApi, unless } from './api.ts';
import type { Image } from './gen/images_pb.js';
import type { TaskImage } from './runtime.ts';

const OF_TASKS = 'skein.of-tasks';

export const nameLabels = (forTask: boolean): Record<string, string> =>
  forTask ? { [OF_TASKS]: 'true' } : {};

/** What of a name that is there changes when it is given again. */
export const renamedFields = (forTask: boolean): string[] => (forTask ? ['target'] : ['target', 'labels']);

export const isOfTasks = ({ labels }: Image): boolean => OF_TASKS in labels;

/** One name of an image that is here whole. */
export interface NamedImage {
  readonly record: Image;
  readonly image: { readonly id: string; readonly size: number };
}

/** Those all of whose names only tasks brought. */
export function taskImages(all: readonly NamedImage[]): Omit<TaskImage, 'inUse'>[] {
  const byId = Map.groupBy(all, ({ image }) => image.id);
  return [...byId]
    .filter(([, named]) => named.every(({ record }) => isOfTasks(record)))
    .map(([id, named]) => ({
      id,
      names: named.map(({ record }) => record.name),
      size: named[0]!.image.size,
    }));
}

export async function forgetNames(api: ContainerdApi, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const found = await unless('not-found', api.images.get({ name }));
    if (found?.image && isOfTasks(found.image))
      await unless('not-found', api.images.delete({ name, sync: true }));
  }
}
