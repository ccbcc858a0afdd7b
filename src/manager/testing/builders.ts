/** For tests only: small makers of stored objects, and a view that holds them. */
import { timestamp } from '../../kit/clock.ts';
import type { ClusterId, Ipv4, Mac, NetworkId, NodeId, ServiceId, TaskId } from '../../model/ids.ts';
import type { Cluster, Network, Node, Service, Task, TaskStatus } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import type { TaskState } from '../../model/task-state.ts';
import { Cache } from '../../store/cache.ts';
import type { AnyObject, Change, Draft } from '../../store/store.ts';
import type { InitialCluster } from '../control/initial-objects.ts';
import type { Ids } from '../task.ts';

export const T0 = Date.UTC(2026, 0, 1);
/** What was created so many seconds after all else, or (below 0) before it. */
export const created = (seconds: number) => ({
  createRevision: 1 + seconds,
  createdAt: timestamp(T0 + seconds * 1000),
});
const meta = () => ({ version: 1, ...created(0), updatedAt: timestamp(T0) });

export function counterIds(): Ids & { random: (length: number) => Uint8Array } {
  let n = 0;
  const next = () => ++n;
  const random = (length: number) => {
    const bytes = new Uint8Array(length);
    new DataView(bytes.buffer).setUint32(length - 4, next());
    return bytes;
  };
  const mac = () => `02:00:00:00:${hex(next() >> 8)}:${hex(n & 255)}` as Mac;
  return { task: () => `new${String(next()).padStart(5, '0')}` as TaskId, mac, random };
}
const hex = (byte: number): string => (byte & 255).toString(16).padStart(2, '0');

export const spec = (patch: Partial<ServiceSpec> = {}): ServiceSpec => ({
  Name: 'web',
  Labels: {},
  TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
  Mode: { Replicated: { Replicas: 1 } },
  ...patch,
});

export const service = (patch: Partial<Service> = {}): Service => ({
  id: 'svc' as ServiceId,
  spec: spec(),
  specVersion: 1,
  previousSpec: undefined,
  previousSpecVersion: undefined,
  endpoint: undefined,
  updateStatus: undefined,
  registryAuth: undefined,
  jobStatus: undefined,
  ...meta(),
  ...patch,
});

export function nodeDraft(id: string, patch: Partial<Node> = {}): Draft<'node'> {
  const last = Number(id.replace(/\D/g, '')) || 1;
  return {
    id: id as NodeId,
    spec: { Labels: {}, Role: 'worker', Availability: 'active' },
    description: {
      hostname: id,
      platform: { architecture: 'x86_64', os: 'linux' },
      resources: { nanoCpus: 2e9, memoryBytes: 4 * 2 ** 30 },
      engine: { version: '1', labels: {}, plugins: [] },
      uplinkMac: `02:aa:00:00:${hex(last >> 8)}:${hex(last)}` as Mac,
    },
    status: { state: 'ready', message: '', addr: `192.0.2.${last}` as Ipv4 },
    dataPathAddr: `192.0.2.${last}` as Ipv4,
    manager: undefined,
    attachments: [],
    certificate: undefined,
    ...patch,
  };
}

export const node = (id: string, patch: Partial<Node> = {}): Node => ({
  ...nodeDraft(id),
  ...meta(),
  ...patch,
});

export const status = (state: TaskState, patch: Partial<TaskStatus> = {}): TaskStatus => ({
  timestamp: timestamp(T0),
  state,
  message: '',
  err: '',
  container: undefined,
  ports: [],
  health: 'none',
  ...patch,
});

export const task = (id: string, patch: Partial<Task> = {}): Task => ({
  id: id as TaskId,
  serviceId: 'svc' as ServiceId,
  slot: 1,
  nodeId: 'n1' as NodeId,
  spec: { ContainerSpec: { Image: 'web:1' }, Networks: [] },
  specVersion: 1,
  serviceName: 'web',
  serviceLabels: {},
  endpointSpec: {},
  desiredState: 'running',
  status: status('running'),
  attachments: [],
  registryAuth: undefined,
  jobIteration: undefined,
  ...meta(),
  ...patch,
});

export const network = (id: string, patch: Partial<Network> = {}): Network => ({
  id: id as NetworkId,
  spec: { Name: id, Driver: 'overlay' },
  state: undefined,
  ...meta(),
  ...patch,
});

export const initial = (node: Draft<'node'>): InitialCluster => ({
  clusterId: 'cluster' as ClusterId,
  ingressId: 'ingress-id' as NetworkId,
  spec: {} as InitialCluster['spec'],
  addressPools: [],
  subnetSize: 0,
  dataPathPort: 0,
  joinTokens: { worker: 'w', manager: 'm' },
  ca: { certificate: '', key: '', etcdCertificate: '', etcdKey: '' },
  node,
});

export const cluster = (patch: Partial<Cluster> = {}): Cluster => ({
  id: 'cluster' as ClusterId,
  spec: { Orchestration: { TaskHistoryRetentionLimit: 5 } } as Cluster['spec'],
  addressPools: ['10.0.0.0/8' as Cluster['addressPools'][number]],
  subnetSize: 24,
  dataPathPort: 4789,
  joinTokens: { worker: 'w', manager: 'm' },
  ca: { certificate: '', key: '', etcdCertificate: '', etcdKey: '' },
  ...meta(),
  ...patch,
});

export function viewOf(...objects: AnyObject[]): Cache {
  const view = new Cache();
  view.apply(
    1,
    objects.map(({ kind, object }) => ({ type: 'put', kind, object }) as unknown as Change),
  );
  return view;
}

export const SECOND = 1e9;
export const replicas = (n: number) => ({ Replicated: { Replicas: n } });
export const image = (Image: string) => ({ ContainerSpec: { Image } });

/** The same service with another image. */
export const to =
  (Image: string) =>
  (s: ServiceSpec): ServiceSpec => ({ ...s, TaskTemplate: { ...s.TaskTemplate, ...image(Image) } });

export const published = {
  Ports: [{ Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' as const }],
};
