/** Events of containers and images: which are news to whom, and how `docker events` tells of them. Pure. */
import type { EngineEvent } from '../kit/event-log.ts';
import type { ContainerEvent, ContainerInfo } from './runtime.ts';

/** Something that no loop of this node did itself a moment ago: whoever cares for the container looks at it again. */
export const isNews = (event: ContainerEvent): event is Extract<ContainerEvent, { type: 'exit' | 'oom' }> =>
  ['exit', 'oom', 'delete'].includes(event.type);

/** As `docker events` tells of a container: with its name, image and labels. */
export const containerEvent = (
  { id, image, name, labels }: Pick<ContainerInfo, 'id' | 'image' | 'name' | 'labels'>,
  action: string,
  more: Readonly<Record<string, string>> = {},
): EngineEvent => ({
  type: 'container',
  action,
  id,
  attributes: { ...labels, image, name, ...more },
  scope: 'local',
});

/** Docker's id of the event is the name that was asked for. */
export const imageEvent = (action: string, name: string, id = name): EngineEvent => ({
  type: 'image',
  action,
  id,
  attributes: { name },
  scope: 'local',
});
