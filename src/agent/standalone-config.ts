/** From a container of a user's own to its config, files and sandbox: as a task's are made, from the same parts. Pure. */
import { join } from 'node:path';
import type { ContainerConfig, ImageInfo } from '../containerd/runtime.ts';
import type { ContainerId, ServiceId, TaskId } from '../model/ids.ts';
import type { Attachment } from '../model/objects.ts';
import type { StandaloneSpec } from '../model/standalone.ts';
import type { NodeNames } from '../model/template.ts';
import type { SandboxSpec } from '../net/network.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { fileContents, healthOf } from './container-config.ts';

/** Nothing of a container of a user's own is a template. */
const NOWHERE: NodeNames = { id: undefined, hostname: '', platform: { architecture: '', os: '' } };

const hostnameOf = (id: ContainerId, spec: StandaloneSpec): string => spec.hostname || id.slice(0, 12);

export function standaloneConfig(
  id: ContainerId,
  spec: StandaloneSpec,
  runRoot: string,
  files: Readonly<Record<string, string>>,
  image: ImageInfo['config'],
): ContainerConfig {
  const health = healthOf(spec.container, image);
  return {
    id,
    name: spec.name,
    image: spec.container.Image,
    spec: { ...spec.container, ...(health && { Healthcheck: health }) },
    limits: spec.limits,
    ...(spec.logging && { logging: spec.logging }),
    hostname: hostnameOf(id, spec),
    netnsPath: join(runRoot, 'netns', id),
    files,
    labels: spec.labels,
    restartable: true,
    notes: spec,
  };
}

export const standaloneFiles = (
  id: ContainerId,
  spec: StandaloneSpec,
  attachments: readonly Attachment[],
  nodeResolvConf: string,
): Readonly<Record<string, string>> =>
  fileContents(asTask(id, spec, attachments), NOWHERE, id, nodeResolvConf);

export const standaloneSandbox = (
  id: ContainerId,
  spec: StandaloneSpec,
  attachments: readonly Attachment[],
  internal: boolean,
): SandboxSpec => ({
  id,
  serviceId: undefined,
  attachments: attachments.map(({ networkId, address, mac }) => ({ networkId, address, mac })),
  hostPorts: spec.ports,
  dnsServers: spec.container.DNSConfig?.Nameservers ?? [],
  internal,
});

/** What the files of a container are made from, where there is no task. */
const asTask = (id: ContainerId, spec: StandaloneSpec, attachments: readonly Attachment[]): TaskItem => ({
  id: id as string as TaskId,
  serviceId: '' as ServiceId,
  serviceName: '',
  serviceLabels: {},
  slot: 0,
  nodeId: undefined,
  // Its host name is the user's own words: no template is expanded in it.
  spec: { ContainerSpec: { ...spec.container, Hostname: hostnameOf(id, spec) } },
  desiredState: 'running',
  attachments,
  endpointSpec: {},
  registryAuth: undefined,
  status: {
    timestamp: '',
    state: 'running',
    message: '',
    err: '',
    container: undefined,
    ports: [],
    health: 'none',
  },
});
