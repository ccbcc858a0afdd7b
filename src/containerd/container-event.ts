/** Events of containers and images: which are news to whom, and how `docker events` tells of them. Pure. */
import type { EngineEvent } from '../kit/event-log.ts';
import type { Labels } from '../model/spec.ts';
import { familiarName, familiarRepository, parseReference } from './reference.ts';
import type { ContainerEvent, ContainerInfo, ImageInfo } from './runtime.ts';

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

/** `exec_create: sh -c x`: a command without arguments has the space behind it all the same. */
export const execAction = (
  action: 'exec_create' | 'exec_start',
  [command = '', ...args]: readonly string[],
): string => `${action}: ${command} ${args.join(' ')}`;

/** Where an image is called by its id, that is its name too. */
export const imageEvent = (
  action: string,
  { id, config }: Pick<ImageInfo, 'id' | 'config'>,
  name = id,
): EngineEvent => ({
  type: 'image',
  action,
  id,
  attributes: { ...(config['Labels'] as Labels | undefined), name },
  scope: 'local',
});

/** Of a name that came from a registry or went there: that is the id of the event, and its repository the name. */
export const transferEvent = (
  action: 'pull' | 'push',
  reference: string,
  config: ImageInfo['config'],
): EngineEvent => {
  const parsed = parseReference(reference);
  return imageEvent(action, { id: familiarName(parsed), config }, familiarRepository(parsed));
};
