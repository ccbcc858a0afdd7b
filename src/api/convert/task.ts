/** Task in Docker's JSON. */
import type { NetworkId } from '../../model/ids.ts';
import type { Network, Task } from '../../model/objects.ts';
import { metaJson } from './meta.ts';
import { ipamConfigs, overlayOptions } from './network.ts';

export type NetworkLookup = (id: NetworkId) => Network | undefined;

export function taskJson(task: Task, network: NetworkLookup): object {
  const { Runtime: _runtime, Networks: networks, ...spec } = task.spec;
  return {
    ...metaJson(task.id, task),
    Labels: {},
    Spec: { ...spec, ...(networks?.length && { Networks: networks }) },
    ServiceID: task.serviceId,
    ...slotJson(task),
    ...(task.genericResources?.length && { GenericResources: task.genericResources }),
    ...(task.nodeId && { NodeID: task.nodeId }),
    Status: statusJson(task),
    DesiredState: task.desiredState,
    ...(task.attachments.length > 0 && {
      NetworksAttachments: task.attachments.map((attachment) => ({
        Network: attachedNetwork(attachment.networkId, network),
        Addresses: [attachment.address],
        ...(attachment.aliases.length > 0 && { Aliases: attachment.aliases }),
      })),
    }),
    ...(task.jobIteration !== undefined && { JobIteration: { Index: task.jobIteration } }),
  };
}

/** Slots of jobs begin at 0 in Docker, and its CLI adds one. */
function slotJson({ slot, jobIteration }: Task): object {
  const shown = jobIteration === undefined ? slot : slot - 1;
  return shown > 0 ? { Slot: shown } : {};
}

function statusJson({ status }: Task): object {
  const { container } = status;
  return {
    Timestamp: status.timestamp,
    State: status.state,
    ...(status.message && { Message: status.message }),
    ...(status.err && { Err: status.err }),
    ...(container && {
      ContainerStatus: {
        ContainerID: container.containerId,
        PID: container.pid,
        ExitCode: container.exitCode,
      },
    }),
    PortStatus: status.ports.length > 0 ? { Ports: status.ports } : {},
  };
}

const named = (name: string | undefined): object => (name ? { Name: name } : {});

/** Swarm's own form of a network, which differs from the one of `/networks`. */
function attachedNetwork(id: NetworkId, lookup: NetworkLookup): object {
  const network = lookup(id);
  if (!network) return { ID: id };
  const { spec } = network;
  return {
    ...metaJson(id, network),
    Spec: {
      Name: spec.Name,
      Labels: spec.Labels ?? {},
      DriverConfiguration: named(spec.Ingress ? undefined : spec.Driver),
      ...(spec.Ingress && { Ingress: true }),
      ...(spec.Attachable && { Attachable: true }),
      ...(spec.Internal && { Internal: true }),
      IPAMOptions: { Driver: named(spec.Ingress ? undefined : spec.IPAM?.Driver) },
      Scope: 'swarm',
    },
    DriverState: { Name: 'overlay', Options: overlayOptions(network) },
    IPAMOptions: { Driver: { Name: 'default' }, Configs: ipamConfigs(network) },
  };
}
