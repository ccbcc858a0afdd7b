/** From a task and this node's names to the container's config, sandbox and files. Pure. */
import type { ContainerConfig, ImageInfo } from '../containerd/runtime.ts';
import type { ContainerId } from '../model/ids.ts';
import { resourceEnv } from '../model/generic-resources.ts';
import { taskName } from '../model/names.ts';
import type { ContainerSpec, HealthSpec, MountSpec } from '../model/spec.ts';
import { type NetworkView, RESOLVER } from '../model/network-view.ts';
import type { SandboxSpec } from '../net/network.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { mergeHealth } from './health-plan.ts';
import { expandTemplate, type NodeNames } from '../model/template.ts';

/** The label by which this agent knows its containers. */
export const TASK_LABEL = 'com.docker.swarm.task.id';

export function containerConfig(
  task: TaskItem,
  node: NodeNames,
  place: {
    readonly id: ContainerId;
    readonly netnsPath: string;
    readonly files: Readonly<Record<string, string>>;
  },
  image: ImageInfo['config'],
): ContainerConfig {
  return {
    id: place.id,
    name: taskName(task),
    image: task.spec.ContainerSpec.Image,
    spec: withImage(expandSpec(task, node), image),
    limits: task.spec.Resources?.Limits,
    ...(task.spec.LogDriver && { logging: task.spec.LogDriver }),
    hostname: hostnameOf(task, node, place.id),
    netnsPath: place.netnsPath,
    files: place.files,
    labels: {
      ...task.spec.ContainerSpec.Labels,
      'com.docker.swarm.node.id': node.id ?? '',
      'com.docker.swarm.service.id': task.serviceId,
      'com.docker.swarm.service.name': task.serviceName,
      'com.docker.swarm.task': '',
      [TASK_LABEL]: task.id,
      'com.docker.swarm.task.name': taskName(task),
    },
  };
}

export const healthOf = (spec: ContainerSpec, image: ImageInfo['config']): HealthSpec | undefined =>
  mergeHealth(spec.Healthcheck, (image['Healthcheck'] ?? undefined) as HealthSpec | undefined);

/** What the spec leaves to its image, for as long as the container lives: the image may be gone by then. */
function withImage(spec: ContainerSpec, image: ImageInfo['config']): ContainerSpec {
  const health = healthOf(spec, image);
  const signal = spec.StopSignal || image['StopSignal'];
  return {
    ...spec,
    ...(health && { Healthcheck: health }),
    ...(typeof signal === 'string' && { StopSignal: signal }),
  };
}

const hostnameOf = (task: TaskItem, node: NodeNames, id: ContainerId): string =>
  expandTemplate(task.spec.ContainerSpec.Hostname ?? '', task, node) || id.slice(0, 12);

function expandSpec(task: TaskItem, node: NodeNames): ContainerSpec {
  const spec = task.spec.ContainerSpec;
  const expand = (text: string) => expandTemplate(text, task, node);
  const env = [...(spec.Env ?? []).map(expand), ...resourceEnv(task.genericResources ?? [])];
  return {
    ...spec,
    ...(env.length > 0 && { Env: env }),
    ...(spec.Mounts && { Mounts: spec.Mounts.map((mount) => expandMount(mount, expand)) }),
  };
}

const expandMount = (mount: MountSpec, expand: (text: string) => string): MountSpec => ({
  ...mount,
  Target: expand(mount.Target),
  ...(mount.Source !== undefined && { Source: expand(mount.Source) }),
  ...(mount.VolumeOptions && { VolumeOptions: expandVolume(mount.VolumeOptions, expand) }),
});

type VolumeOptions = NonNullable<MountSpec['VolumeOptions']>;

function expandVolume(options: VolumeOptions, expand: (text: string) => string): VolumeOptions {
  const { Labels, DriverConfig } = options;
  const each = (values: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(values).map(([key, value]) => [key, expand(value)]));
  return {
    ...options,
    ...(Labels && { Labels: each(Labels) }),
    ...(DriverConfig?.Options && { DriverConfig: { ...DriverConfig, Options: each(DriverConfig.Options) } }),
  };
}

export function sandboxSpec(task: TaskItem, id: ContainerId, view: NetworkView): SandboxSpec {
  const networks = task.attachments.map((a) => view.networks.get(a.networkId));
  return {
    id,
    serviceId: task.serviceId,
    attachments: task.attachments.map(({ networkId, address, mac }) => ({ networkId, address, mac })),
    hostPorts: (task.endpointSpec.Ports ?? []).filter((port) => port.PublishMode === 'host'),
    dnsServers: task.spec.ContainerSpec.DNSConfig?.Nameservers ?? [],
    internal: networks.length > 0 && networks.every((network) => network?.internal === true),
  };
}

/** Content of the files that the agent keeps for a container, by target path. */
export function fileContents(
  task: TaskItem,
  node: NodeNames,
  id: ContainerId,
  nodeResolvConf: string,
): Readonly<Record<string, string>> {
  const hostname = hostnameOf(task, node, id);
  return {
    '/etc/hostname': `${hostname}\n`,
    '/etc/hosts': hostsFile(task, hostname),
    '/etc/resolv.conf': resolvConf(task, nodeResolvConf),
  };
}

function hostsFile(task: TaskItem, hostname: string): string {
  // A host of the spec is "ADDRESS NAME...", as the CLI sends it.
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    ...(task.spec.ContainerSpec.Hosts ?? []).map((line) => line.trim().split(/\s+/).join('\t')),
    ...task.attachments.map((a) => `${a.address.split('/')[0]}\t${hostname}`),
    '',
  ].join('\n');
}

/**
 * On a network, the one resolver that a container sees is the node's, at Docker's address; `--dns` says where that one
 * asks on. Names of the cluster have no dots, so none is tried with the search domains first (ndots:0), as in Docker.
 * Without a network it asks where the node asks, less resolvers on the node's loopback, which it can not reach.
 */
function resolvConf(task: TaskItem, nodeFile: string): string {
  const { Nameservers = [], Search = [], Options = [] } = task.spec.ContainerSpec.DNSConfig ?? {};
  const named = task.attachments.length > 0;
  const lines = nodeFile.split('\n').map((line) => line.trim().split(/\s+/));
  const inherited = (word: string) =>
    lines.filter(([first]) => first === word).flatMap(([, ...rest]) => rest);
  const own =
    Nameservers.length > 0 ? Nameservers : inherited('nameserver').filter((s) => !/^(127\.|::1)/.test(s));
  const search = Search.length > 0 ? Search : inherited('search');
  const options = [...(Options.length > 0 ? Options : inherited('options'))];
  if (named && !options.some((option) => option.startsWith('ndots:'))) options.push('ndots:0');
  return [
    ...(named ? [RESOLVER.address] : own).map((server) => `nameserver ${server}`),
    ...(search.length > 0 && search.join() !== '.' ? [`search ${search.join(' ')}`] : []),
    ...(options.length > 0 ? [`options ${options.join(' ')}`] : []),
    '',
  ].join('\n');
}
