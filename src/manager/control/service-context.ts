/** What a service's spec needs of the rest of the cluster: a free name, networks that exist, ports nobody has. */
import type { ConfigId, NetworkId, SecretId, ServiceId } from '../../model/ids.ts';
import type { Service } from '../../model/objects.ts';
import type { NetworkAttachmentSpec, ServiceSpec } from '../../model/spec.ts';
import type { View } from '../../store/view.ts';
import { jobSize } from '../job.ts';
import { hostPorts, ingressPorts, networksOf } from '../task.ts';
import { findNetwork } from './lookup.ts';
import { checkTogether } from './network-spec.ts';
import { inUse, invalid, nameTaken } from './refusal.ts';

/** The spec as it is stored: networks by id, and the words Docker fills in. Throws what the cluster cannot give. */
export function resolveSpec(view: View, spec: ServiceSpec, self: ServiceId | undefined): ServiceSpec {
  const holder = view.byName('service', spec.Name);
  if (holder && holder.id !== self) throw nameTaken('service', spec.Name);
  checkReferences(view, spec);
  const resolved = {
    ...spec,
    TaskTemplate: withNetworks(view, withDefaults(spec)),
    Mode: withReplicas(spec),
  };
  if (spec.Networks?.length) resolved.Networks = resolveNetworks(view, spec.Networks);
  checkPorts(view, resolved, self);
  checkTogether(
    view,
    networksOf(resolved).map(({ Target }) => Target as NetworkId),
  );
  return resolved;
}

const withDefaults = ({ TaskTemplate: template }: ServiceSpec): ServiceSpec['TaskTemplate'] => ({
  ...template,
  ContainerSpec: { ...template.ContainerSpec, Isolation: template.ContainerSpec.Isolation || 'default' },
  ForceUpdate: template.ForceUpdate ?? 0,
  Runtime: template.Runtime || 'container',
});

function withReplicas({ Mode: mode }: ServiceSpec): ServiceSpec['Mode'] {
  if (mode.Replicated) return { Replicated: { ...mode.Replicated, Replicas: mode.Replicated.Replicas ?? 1 } };
  if (!mode.ReplicatedJob) return mode;
  const { concurrent, completions } = jobSize(mode.ReplicatedJob);
  return { ReplicatedJob: { MaxConcurrent: concurrent, TotalCompletions: completions } };
}

const withNetworks = (view: View, template: ServiceSpec['TaskTemplate']): ServiceSpec['TaskTemplate'] =>
  template.Networks ? { ...template, Networks: resolveNetworks(view, template.Networks) } : template;

function resolveNetworks(view: View, networks: readonly NetworkAttachmentSpec[]): NetworkAttachmentSpec[] {
  const resolved = networks.map((network) => ({ ...network, Target: networkId(view, network.Target) }));
  const unique = new Set(resolved.map(({ Target }) => Target));
  if (unique.size < resolved.length) throw invalid('networks must not be specified more than once');
  return resolved;
}

function networkId(view: View, ref: string): string {
  const network = findNetwork(view, ref);
  if (network.spec.Ingress)
    throw invalid(`Service cannot be explicitly attached to the ingress network "${network.spec.Name}"`);
  return network.id;
}

function checkReferences(view: View, { TaskTemplate: { ContainerSpec: container } }: ServiceSpec): void {
  const secrets = (container.Secrets ?? []).filter((s) => !view.get('secret', s.SecretID as SecretId));
  const configs = (container.Configs ?? []).filter((c) => !view.get('config', c.ConfigID as ConfigId));
  const words = (names: readonly string[]) => `${names.length > 1 ? 's' : ''} not found: ${names.join(', ')}`;
  if (secrets.length > 0) throw invalid(`secret${words(secrets.map((s) => s.SecretName))}`);
  if (configs.length > 0) throw invalid(`config${words(configs.map((c) => c.ConfigName))}`);
}

function checkPorts(view: View, spec: ServiceSpec, self: ServiceId | undefined): void {
  const mine = spec.EndpointSpec?.Ports ?? [];
  if (ingressPorts(mine).length > 0 && !view.ingress)
    throw inUse('service needs ingress network, but no ingress network is present');
  const published = mine.filter((port) => port.PublishedPort);
  if (published.length === 0) return;
  for (const service of view.all('service').values()) {
    if (service.id === self) continue;
    const ingress = ingressPorts([
      ...(service.endpoint?.ports ?? []),
      ...(service.spec.EndpointSpec?.Ports ?? []),
    ]);
    const host = hostPorts(service.spec.EndpointSpec?.Ports);
    for (const port of published) {
      const same = (other: { Protocol: string; PublishedPort?: number }) =>
        other.Protocol === port.Protocol && other.PublishedPort === port.PublishedPort;
      // Two services may have one host port, on different nodes; the mesh answers a port on all of them.
      if (ingress.some(same)) throw portTaken(port.PublishedPort!, service, 'an ingress port');
      if (port.PublishMode !== 'host' && host.some(same))
        throw portTaken(port.PublishedPort!, service, 'a host-published port');
    }
  }
}

const portTaken = (port: number, service: Service, as: string) =>
  invalid(`port '${port}' is already in use by service '${service.spec.Name}' (${service.id}) as ${as}`);
