/**
 * One connection to the local etcd member. Every call has a deadline: without a quorum etcd itself would let a write
 * hang for ever.
 */
import { GrpcChannel, type Rpc } from '../../kit/grpc.ts';
import { Cluster, KV, Lease, Maintenance, Watch } from './gen/rpc_pb.js';

/** After this long a call has failed: longer than any election of etcd, short enough for an API request. */
const DEADLINE_MS = 5000;

type Methods<S> = S extends { method: infer M } ? M : never;

export class EtcdClient {
  readonly #channel: GrpcChannel;
  readonly kv: Rpc<Methods<typeof KV>>;
  readonly watches: Rpc<Methods<typeof Watch>>;
  readonly leases: Rpc<Methods<typeof Lease>>;
  readonly cluster: Rpc<Methods<typeof Cluster>>;
  readonly maintenance: Rpc<Methods<typeof Maintenance>>;

  /** `target` as grpc-js takes it: `unix:/path/of/socket`. */
  constructor(target: string) {
    const channel = new GrpcChannel({
      name: 'etcd',
      target,
      timeoutMs: DEADLINE_MS,
      // Members of one host in tests must not share the backoff of a dead one.
      options: { 'grpc.use_local_subchannel_pool': 1, 'grpc.max_reconnect_backoff_ms': 500 },
      // A member without a leader refuses at once in place of letting the caller wait.
      headers: { hasleader: 'true' },
    });
    this.#channel = channel;
    this.kv = channel.service(KV);
    this.watches = channel.service(Watch);
    this.leases = channel.service(Lease);
    this.cluster = channel.service(Cluster);
    this.maintenance = channel.service(Maintenance);
  }

  close(): void {
    this.#channel.close();
  }
}
