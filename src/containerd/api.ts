/**
 * The typed containerd services that Skein calls, over one connection, in one containerd namespace.
 *
 * The folder: containers, images and their output on one node, by containerd's own gRPC API. agent/ and api/ call it
 * through the interface in runtime.ts. If it lies about what runs, the cluster starts containers twice or not at all;
 * one more container costs one shim process (2.4 MB), one tailed pair of files, and a line in two lists.
 *
 * What containerd must not collect is always reachable from a root of its garbage collector: images hold index,
 * manifest, config and layers by `gc.ref` labels, the config holds the unpacked snapshots, a container holds its own
 * snapshot. What is on its way there is held by a lease that expires, so that a killed skeind leaks nothing.
 */
import { type CallOptions, GrpcChannel } from '../kit/grpc.ts';
import { isCode } from '../model/errors.ts';
import { Containers } from './gen/containers_pb.js';
import { Content } from './gen/content_pb.js';
import { Diff } from './gen/diff_pb.js';
import { Events } from './gen/events_pb.js';
import { Images } from './gen/images_pb.js';
import { Introspection } from './gen/introspection_pb.js';
import { Leases } from './gen/leases_pb.js';
import { Namespaces } from './gen/namespaces_pb.js';
import { Snapshots } from './gen/snapshots_pb.js';
import { Tasks } from './gen/tasks_pb.js';
import { Version } from './gen/version_pb.js';

export const NAMESPACE = 'skein';
export const SNAPSHOTTER = 'overlayfs';

const LEASE_HEADER = 'containerd-lease';
/** Longer than any pull or load, short enough that what a killed skeind held is gone the next day. */
const LEASE_HOURS = 12;

export class ContainerdApi {
  readonly #channel: GrpcChannel;
  readonly containers;
  readonly tasks;
  readonly snapshots;
  readonly content;
  readonly images;
  readonly leases;
  readonly namespaces;
  readonly events;
  readonly version;
  readonly diff;
  readonly introspection;

  constructor(socket: string) {
    const channel = new GrpcChannel({
      name: 'containerd',
      target: `unix:${socket}`,
      headers: { 'containerd-namespace': NAMESPACE },
      waitForReady: true, // it is back 75 ms after a restart
      timeoutMs: 15_000,
    });
    this.#channel = channel;
    this.containers = channel.service(Containers);
    this.tasks = channel.service(Tasks);
    this.snapshots = channel.service(Snapshots);
    this.content = channel.service(Content);
    this.images = channel.service(Images);
    this.leases = channel.service(Leases);
    this.namespaces = channel.service(Namespaces);
    this.events = channel.service(Events);
    this.version = channel.service(Version);
    this.diff = channel.service(Diff);
    this.introspection = channel.service(Introspection);
  }

  /** Makes the namespace that everything of Skein is in; it is there already after the first time. */
  async ensureNamespace(): Promise<void> {
    await unless('already-exists', this.namespaces.create({ namespace: { name: NAMESPACE } }));
  }

  /** Runs `work` with everything it makes held by a lease; the lease goes when the work is done. */
  async leased<T>(id: string, now: number, work: (options: CallOptions) => Promise<T>): Promise<T> {
    const expire = new Date(now + LEASE_HOURS * 3_600_000).toISOString();
    await this.leases.create({ id, labels: { 'containerd.io/gc.expire': expire } });
    try {
      return await work({ headers: { [LEASE_HEADER]: id } });
    } finally {
      await unless('not-found', this.leases.delete({ id }));
    }
  }

  close(): void {
    this.#channel.close();
  }
}

/** The answer, or undefined where the call failed with this code: an expected "no" of an idempotent call. */
export async function unless<T>(
  code: 'not-found' | 'already-exists' | 'failed-precondition',
  call: Promise<T>,
): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isCode(error, code)) return undefined;
    throw error;
  }
}
