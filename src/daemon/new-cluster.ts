/** `swarm init`: what a new cluster begins with, and what can be refused before anything is made. */
import type { Identity } from '../agent/identity.ts';
import type { SwarmInitRequest } from '../api/backend.ts';
import { parseCidr } from '../kit/cidr.ts';
import { issueNode, newEtcdRoot, newSwarmRoot } from '../manager/ca/authority.ts';
import { certificateLifeMs, newNode } from '../manager/ca/issuer.ts';
import { initialObjects } from '../manager/control/initial-objects.ts';
import { checkSwarmSpec } from '../manager/control/swarm-spec.ts';
import { SkeinError } from '../model/errors.ts';
import { type ClusterId, type NetworkId, newId, type NodeId } from '../model/ids.ts';
import type { ClusterCa } from '../model/objects.ts';
import type { Availability } from '../model/spec.ts';
import { newRequest } from '../rpc/x509.ts';
import { newJoinToken } from '../rpc/join-token.ts';
import { managerPlace } from './manager-place.ts';
import type { Origin } from './manager-store.ts';
import type { Membership } from './membership-file.ts';
import type { Tools } from './tools.ts';

/** Its roots, its tokens, and its first node, which is this one. */
export async function newCluster(
  request: SwarmInitRequest,
  membership: Membership,
  { random, clock }: Tools,
): Promise<{ readonly identity: Identity; readonly origin: Origin }> {
  const deps = { now: () => clock.now(), random };
  const nodeId = newId<NodeId>(random);
  const clusterId = newId<ClusterId>(random);
  const [root, etcdRoot] = [await newSwarmRoot(deps), await newEtcdRoot(deps)];
  const ca: ClusterCa = {
    certificate: root.certificate,
    key: root.key,
    etcdCertificate: etcdRoot.certificate,
    etcdKey: etcdRoot.key,
  };
  const { key, csr } = await newRequest();
  const expiryMs = certificateLifeMs(request.spec);
  const certificate = await issueNode(root, csr, { nodeId, clusterId, role: 'manager' }, expiryMs, deps);
  const manager = managerPlace(nodeId, membership);
  const availability = (request.availability || 'active') as Availability;
  const node = {
    ...newNode(nodeId, 'manager', availability, membership.advertiseAddr, certificate),
    dataPathAddr: membership.dataPathAddr,
    manager,
  };
  const objects = initialObjects({
    clusterId,
    ingressId: newId<NetworkId>(random),
    spec: request.spec,
    addressPools: request.addressPools,
    subnetSize: request.subnetSize,
    dataPathPort: request.dataPathPort,
    joinTokens: {
      worker: newJoinToken(root.certificate, random),
      manager: newJoinToken(root.certificate, random),
    },
    ca,
    node,
  });
  const managers = [{ nodeId, addr: manager.addr }];
  const credentials = { key, certificate, ca: root.certificate };
  return {
    identity: { nodeId, clusterId, role: 'manager', credentials, managers },
    origin: { kind: 'init', ca, objects },
  };
}

const invalid = (message: string) => new SkeinError('invalid-argument', message);

export function checkInit({
  addressPools,
  subnetSize,
  dataPathPort,
  spec,
  availability,
}: SwarmInitRequest): void {
  checkSwarmSpec(spec);
  if (dataPathPort !== 0 && (dataPathPort < 1024 || dataPathPort > 49151))
    throw invalid(`Datapath port number is not in valid range (1024-49151) : ${dataPathPort}`);
  if (availability !== '' && !['active', 'pause', 'drain'].includes(availability))
    throw invalid(`invalid Availability: "${availability}"`);
  const size = subnetSize || 24;
  for (const pool of addressPools) {
    const length = Number(parseCidr(pool).split('/')[1]);
    if (size < length || size > 29)
      throw invalid(`invalid default subnet size ${size}: must be between ${length} (pool ${pool}) and 29`);
  }
}
