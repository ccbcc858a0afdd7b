/**
 * What a node says of its own network: peers steered away, what audits repaired, what was done about the host's
 * firewall. A file in the run root, so that `skein doctor` and `skein explain` read it whether skeind runs or not.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { Ipv4, NodeId } from '../model/ids.ts';

const peerStatus = z.object({
  nodeId: z.custom<NodeId>((id) => typeof id === 'string'),
  hostname: z.string(),
  /** The address that is probed. */
  target: z.custom<Ipv4>((ip) => typeof ip === 'string'),
  /** Milliseconds since the epoch; absent: it answers. */
  awaySince: z.number().optional(),
});

const networkStatus = z.object({
  /** Peers that have answered a probe. */
  peers: z.array(peerStatus).readonly(),
  audits: z.object({
    count: z.number(),
    /** Audits that found something to repair, and the steps that took, by kind. */
    drifted: z.number(),
    repaired: z.record(z.string(), z.number()),
    lastMs: z.number(),
    lastDrift: z.number().optional(),
  }),
  /** What the host's own firewall has on the way of Skein's packets; absent: not looked at yet. */
  firewall: z
    .object({
      chains: z.array(z.string()),
      /** Rules put in front, ever: more than the first few say that somebody loads the firewall anew. */
      inserted: z.number(),
    })
    .optional(),
  /** Published ports that are not held on this node, and why. */
  notHeld: z.record(z.string(), z.string()).optional(),
});

export type NetworkStatus = z.infer<typeof networkStatus>;
export type PeerStatus = NetworkStatus['peers'][number];
export type AuditStatus = NetworkStatus['audits'];

export const NO_AUDITS: AuditStatus = { count: 0, drifted: 0, repaired: {}, lastMs: 0 };
const NOTHING: NetworkStatus = { peers: [], audits: NO_AUDITS };

export class NetworkStatusFile {
  readonly #path: string;
  #status: NetworkStatus;

  constructor(runRoot: string) {
    this.#path = join(runRoot, 'network-status.json');
    this.#status = this.#read();
  }

  get status(): NetworkStatus {
    return this.#status;
  }

  write(part: Partial<NetworkStatus>): void {
    this.#status = { ...this.#status, ...part };
    mkdirSync(dirname(this.#path), { recursive: true });
    writeFileSync(`${this.#path}.new`, JSON.stringify(this.#status));
    renameSync(`${this.#path}.new`, this.#path);
  }

  /** A file that is not there, or of another version, is as good as none. */
  #read(): NetworkStatus {
    try {
      return networkStatus.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return NOTHING;
    }
  }
}
