/**
 * Which peers this node steers away from, judged by probes that the peers' kernels answer. Pure: time, answers and what
 * was sent come in, the next state goes out.
 *
 * - Three probes in a row without an answer: away. Two answers in a row: back. An answer that comes late still counts as
 *   one, so a long way is no loss.
 * - A miss is a probe whose time was over when the socket had been read empty: a process that stood still misses none.
 * - A peer's endpoints change hands at most once a second, whatever the probes say.
 * - A peer that never answered is never steered away from: where a firewall eats probes they say nothing.
 *
 * Cost: five packets a second and peer that this node sends to.
 */
import type { Ipv4, NodeId } from '../model/ids.ts';
import type { EndpointItem, NetworkView } from '../model/network-view.ts';

export const PROBE = {
  everyMs: 200,
  /** A probe without an answer after this time is a miss. */
  answerMs: 150,
  missesAway: 3,
  answersBack: 2,
  /** Between two changes of one peer. */
  changeMs: 1_000,
} as const;

export interface PeerState {
  readonly target: Ipv4;
  /** It has answered at least once. */
  readonly proven: boolean;
  readonly away: boolean;
  /** When it last went away or came back; undefined: never. */
  readonly changedAt: number | undefined;
  readonly misses: number;
  readonly answers: number;
  readonly nextProbe: number;
  /** Sent, neither answered nor missed yet, oldest first. */
  readonly pending: readonly { readonly sequence: number; readonly sentAt: number }[];
}

export type Steering = ReadonlyMap<NodeId, PeerState>;

/** What was heard since the last look: `from` answered. */
export interface Answer {
  readonly from: Ipv4;
  readonly sequence: number;
}

/** What a node knew before skeind restarted. */
export interface Remembered {
  readonly proven: ReadonlySet<NodeId>;
  readonly away: ReadonlySet<NodeId>;
}

/**
 * Whom to probe, and where: every peer with an endpoint in rotation, and those that are away, for them to come back.
 * The probe goes the way of the data, from ingress endpoint to ingress endpoint; where there are none, to the VTEP.
 */
export function probeTargets(view: NetworkView, steering: Steering): ReadonlyMap<NodeId, Ipv4> {
  const entrances = new Map<NodeId, Ipv4>();
  const routed = new Set<NodeId>();
  for (const endpoint of view.endpoints.values()) {
    if (endpoint.taskId !== undefined && endpoint.inRotation) routed.add(endpoint.nodeId);
    if (endpoint.taskId === undefined && view.networks.get(endpoint.networkId)?.ingress)
      entrances.set(endpoint.nodeId, endpoint.address);
  }
  const targets = new Map<NodeId, Ipv4>();
  for (const peer of view.peers.values())
    if (routed.has(peer.nodeId) || steering.get(peer.nodeId)?.away)
      targets.set(peer.nodeId, (view.self?.ingress && entrances.get(peer.nodeId)) ?? peer.vtep);
  return targets;
}

/** Peers that came, went or moved. One that is merely not probed at the moment keeps its place. */
export function follow(
  steering: Steering,
  targets: ReadonlyMap<NodeId, Ipv4>,
  peers: ReadonlyMap<NodeId, unknown>,
  now: number,
  remembered?: Remembered,
): Steering {
  const next = new Map<NodeId, PeerState>();
  for (const [id, state] of steering)
    if (peers.has(id)) next.set(id, targets.has(id) ? state : { ...state, pending: [], misses: 0 });
  for (const [id, target] of targets) {
    const known = next.get(id);
    if (known?.target === target) continue;
    next.set(id, {
      proven: remembered?.proven.has(id) ?? false,
      away: remembered?.away.has(id) ?? false,
      changedAt: undefined,
      misses: 0,
      answers: 0,
      nextProbe: now,
      ...known,
      target,
      pending: [],
    });
  }
  return next;
}

/** The socket was read empty and gave `heard`: what that says of each peer. */
export function judge(steering: Steering, heard: readonly Answer[], now: number): Steering {
  const byTarget = Map.groupBy(heard, (answer) => answer.from);
  const next = new Map<NodeId, PeerState>();
  for (const [id, state] of steering) next.set(id, judgePeer(state, byTarget.get(state.target) ?? [], now));
  return next;
}

function judgePeer(state: PeerState, heard: readonly Answer[], now: number): PeerState {
  const newest = Math.max(-1, ...heard.map((answer) => answer.sequence));
  const waiting = state.pending.filter((probe) => probe.sequence > newest);
  const pending = waiting.filter((probe) => now - probe.sentAt < PROBE.answerMs);
  const missed = waiting.length - pending.length;
  const answered = heard.length > 0;
  const misses = (answered ? 0 : state.misses) + missed;
  // Several answers that were read at once, after a standstill, are one proof. One miss alone takes nothing back: on a
  // long way every probe is missed before it is answered.
  const answers = misses > 1 ? 0 : state.answers + (answered ? 1 : 0);
  const judged = { ...state, pending, misses, answers, proven: state.proven || answered };
  if (state.changedAt !== undefined && now - state.changedAt < PROBE.changeMs) return judged;
  const goes = !state.away && judged.proven && misses >= PROBE.missesAway;
  const returns = state.away && answers >= PROBE.answersBack;
  return goes || returns ? { ...judged, away: goes, changedAt: now } : judged;
}

/** Probes that are due. */
export const due = (steering: Steering, targets: ReadonlyMap<NodeId, Ipv4>, now: number): readonly NodeId[] =>
  [...targets.keys()].filter((id) => (steering.get(id)?.nextProbe ?? Infinity) <= now);

export function sent(steering: Steering, id: NodeId, sequence: number, now: number): Steering {
  const state = steering.get(id)!;
  const nextProbe = Math.max(state.nextProbe + PROBE.everyMs, now + PROBE.everyMs / 2);
  return new Map(steering).set(id, {
    ...state,
    nextProbe,
    pending: [...state.pending, { sequence, sentAt: now }],
  });
}

export const awayOf = (steering: Steering): ReadonlySet<NodeId> =>
  new Set([...steering].filter(([, state]) => state.away).map(([id]) => id));

/** The copy of an endpoint that is out of rotation, kept so that the same endpoint is always the same copy. */
export type Steered = WeakMap<EndpointItem, EndpointItem>;

/** The view with every endpoint of the peers that are away out of rotation; all else is the very same object. */
export function steer(view: NetworkView, away: ReadonlySet<NodeId>, copies: Steered): NetworkView {
  if (away.size === 0) return view;
  const endpoints = new Map(view.endpoints);
  for (const [key, endpoint] of view.endpoints) {
    if (!endpoint.inRotation || endpoint.taskId === undefined || !away.has(endpoint.nodeId)) continue;
    let copy = copies.get(endpoint);
    if (!copy) copies.set(endpoint, (copy = { ...endpoint, inRotation: false }));
    endpoints.set(key, copy);
  }
  return { ...view, endpoints };
}
