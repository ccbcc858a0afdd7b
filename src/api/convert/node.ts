/** Node in Docker's JSON. */
import type { NodeId } from '../../model/ids.ts';
import type { ClusterCa, Node, NodeDescription } from '../../model/objects.ts';
import { metaJson } from './meta.ts';
import { tlsInfo } from './tls-info.ts';

export function nodeJson(node: Node, leader: NodeId | undefined, ca: ClusterCa | undefined): object {
  const { state, message, addr } = node.status;
  return {
    ...metaJson(node.id, node),
    Spec: { ...(node.spec.Name && { Name: node.spec.Name }), ...specJson(node) },
    Description: {
      ...(node.description && descriptionJson(node.description)),
      ...(ca && { TLSInfo: tlsInfo(ca) }),
    },
    Status: { State: state, ...(message && { Message: message }), Addr: addr },
    ...(node.manager && {
      ManagerStatus: {
        ...(node.id === leader && { Leader: true }),
        Reachability: state === 'ready' ? 'reachable' : state === 'unknown' ? 'unknown' : 'unreachable',
        Addr: node.manager.addr,
      },
    }),
  };
}

const specJson = ({ spec }: Node): object => ({
  Labels: spec.Labels,
  Role: spec.Role,
  Availability: spec.Availability,
});

function descriptionJson({ hostname, platform, resources, engine }: NodeDescription): object {
  return {
    Hostname: hostname,
    Platform: { Architecture: platform.architecture, OS: platform.os },
    Resources: {
      NanoCPUs: resources.nanoCpus,
      MemoryBytes: resources.memoryBytes,
      ...(resources.generic && { GenericResources: resources.generic }),
    },
    Engine: {
      EngineVersion: engine.version,
      ...(Object.keys(engine.labels).length > 0 && { Labels: engine.labels }),
      Plugins: engine.plugins.map(({ type, name }) => ({ Type: type, Name: name })),
    },
  };
}
