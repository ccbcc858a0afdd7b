/**
 * Probes the peers that this node sends to, and says which of them to steer away from. Decisions are those of
 * net/steering-plan.ts; here is the timer, the socket and the memory that outlives a restart of skeind.
 *
 * INVARIANT: the socket is read empty before any probe is judged.
 */
import type { Log } from '../kit/log.ts';
import type { Clock } from '../kit/clock.ts';
import type { NodeId } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import type { Prober } from '../net/probe-socket.ts';
import {
  awayOf,
  due,
  follow,
  judge,
  probeTargets,
  type Remembered,
  sent,
  type Steering,
} from '../net/steering-plan.ts';
import type { PeerStatus } from '../net/network-status.ts';

export interface SteeringOptions {
  readonly prober: Prober;
  readonly view: () => NetworkView | undefined;
  /** Other peers are away than before. */
  readonly onChange: () => void;
  /** Peers to remember, or to show, are others than before. */
  readonly save: (peers: readonly PeerStatus[]) => void;
  readonly remembered: readonly PeerStatus[];
  readonly clock: Clock;
  /** Milliseconds that only ever go forward, so that a corrected clock loses no probe. */
  readonly log: Log;
}

const TICK_MS = 50;

export class SteeringLoop {
  readonly #options: SteeringOptions;
  readonly #remembered: Remembered;
  /** When each peer that is away was last seen to leave, in the time of people. */
  readonly #since = new Map<NodeId, number>();
  #steering: Steering = new Map();
  #away: ReadonlySet<NodeId> = new Set();
  #targets: ReturnType<typeof probeTargets> = new Map();
  #view: NetworkView | undefined;
  #sequence = 0;
  #cancel: (() => void) | undefined;
  #saved = '';

  constructor(options: SteeringOptions) {
    this.#options = options;
    const away = options.remembered.filter((peer) => peer.awaySince !== undefined);
    this.#remembered = {
      proven: new Set(options.remembered.map((peer) => peer.nodeId)),
      away: new Set(away.map((peer) => peer.nodeId)),
    };
    this.#away = this.#remembered.away;
    for (const peer of away) this.#since.set(peer.nodeId, peer.awaySince!);
  }

  get away(): ReadonlySet<NodeId> {
    return this.#away;
  }

  start(): void {
    this.#cancel = this.#options.clock.after(TICK_MS, () => {
      this.#tick();
      this.start();
    });
  }

  stop(): void {
    this.#cancel?.();
    this.#options.prober.close();
  }

  #tick(): void {
    const { prober, view: latest, clock } = this.#options;
    const view = latest();
    const heard = prober.drain();
    const now = clock.monotonic();
    if (!view) return;
    if (
      this.#view?.endpoints !== view.endpoints ||
      this.#view.peers !== view.peers ||
      this.#view.self !== view.self
    ) {
      this.#targets = probeTargets(view, this.#steering);
      this.#steering = follow(this.#steering, this.#targets, view.peers, now, this.#remembered);
      this.#view = view;
    }
    this.#steering = judge(this.#steering, heard, now);
    for (const id of due(this.#steering, this.#targets, now)) {
      const vtep = this.#away.has(id) ? view.peers.get(id)?.vtep : undefined;
      if (vtep) prober.seek(vtep);
      prober.send(this.#targets.get(id)!, ++this.#sequence);
      this.#steering = sent(this.#steering, id, this.#sequence, now);
    }
    this.#tell(view);
  }

  #tell(view: NetworkView): void {
    const { clock, log, onChange, save } = this.#options;
    const away = awayOf(this.#steering);
    const moved = [...view.peers.values()].filter((p) => away.has(p.nodeId) !== this.#away.has(p.nodeId));
    const gone = [...this.#away].some((id) => !away.has(id));
    for (const peer of moved) {
      const leaves = away.has(peer.nodeId);
      if (leaves) this.#since.set(peer.nodeId, clock.now());
      else this.#since.delete(peer.nodeId);
      log.warn(leaves ? 'a peer does not answer: steered away' : 'a peer answers again: steered back', {
        'node.id': peer.nodeId,
        'node.hostname': peer.hostname,
      });
    }
    if (moved.length > 0 || gone) {
      this.#away = away;
      onChange();
    }
    const peers = this.#status(view);
    const text = JSON.stringify(peers);
    if (text !== this.#saved) save(peers);
    this.#saved = text;
  }

  /** Peers that have answered. */
  #status(view: NetworkView): readonly PeerStatus[] {
    const peers: PeerStatus[] = [];
    for (const [nodeId, { proven, target, away }] of this.#steering) {
      const peer = view.peers.get(nodeId);
      const awaySince = away ? this.#since.get(nodeId) : undefined;
      if (peer && proven)
        peers.push({
          nodeId,
          hostname: peer.hostname,
          target,
          ...(awaySince !== undefined && { awaySince }),
        });
    }
    return peers;
  }
}
