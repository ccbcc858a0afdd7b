/**
 * Captured packets to connections: which flows are one connection before and after translation. Two witnesses: what
 * connection tracking says, where it has been asked, and TCP's initial sequence number, which no translation changes.
 * A connection may be translated more than once (a container that asks a published port of another node), or be seen
 * after translation only (a virtual IP is translated before the packet leaves its namespace). Pure.
 */
import { type Translation, type Tuple, tupleKey } from './conntrack.ts';
import { buildConnection, type Connection, type Leg } from './connection.ts';
import { type Flow, flowsOf } from './flow.ts';
import type { Observation } from './observe.ts';

/** An address and port of a node where connections come in. */
export interface Entrance {
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
}

/** What is traced: connections that come in here, or go to one of these containers. */
export interface JoinFacts {
  readonly entrances: readonly Entrance[];
  readonly backends: ReadonlySet<string>;
}

export interface JoinInput extends JoinFacts {
  readonly observations: readonly Observation[];
  readonly translations: readonly Translation[];
}

/** Two flows with one initial sequence number are one connection only when they open so close to each other. */
const SAME_NS = 10_000_000_000n;

/** In the order in which they began. */
export function joinConnections(input: JoinInput): readonly Connection[] {
  const isBackend = ({ destination }: Tuple) => input.backends.has(destination);
  const isEntrance = (t: Tuple) =>
    input.entrances.some(
      (e) => e.address === t.destination && e.port === t.destinationPort && e.protocol === t.protocol,
    );
  const flows = flowsOf(input.observations, (tuple) => isBackend(tuple) || isEntrance(tuple));
  const chains = new Chains(flows, input.translations);
  const connections = chains.ends().flatMap((end) => {
    const { legs, joinedBy } = chains.upTo(end);
    // Behind a port published in host mode: an address that this one node knows.
    const reachesBackend = isBackend(end.tuple) || (legs.length > 1 && !isEntrance(end.tuple));
    if (!isBackend(end.tuple) && !legs.some(({ tuple }) => isEntrance(tuple))) return [];
    return [buildConnection(legs, joinedBy, reachesBackend)];
  });
  return connections.sort((a, b) => (a.started < b.started ? -1 : 1));
}

/** Flows by what they were before: each has at most one predecessor, found in one look-up. */
class Chains {
  readonly #flows: readonly Flow[];
  readonly #byTuple: ReadonlyMap<string, readonly Flow[]>;
  readonly #byIsn: ReadonlyMap<number | undefined, readonly Flow[]>;
  readonly #before: ReadonlyMap<string, Tuple>;

  constructor(flows: readonly Flow[], translations: readonly Translation[]) {
    this.#flows = flows.toSorted((a, b) => (opened(a) < opened(b) ? -1 : opened(a) > opened(b) ? 1 : 0));
    this.#byTuple = Map.groupBy(this.#flows, ({ tuple }) => tupleKey(tuple));
    this.#byIsn = Map.groupBy(this.#flows, ({ isn }) => isn);
    this.#before = new Map(translations.map(({ before, after }) => [tupleKey(after), before]));
  }

  /** Flows that are not translated any further. */
  ends(): readonly Flow[] {
    const continued = new Set(this.#flows.flatMap((flow) => this.#predecessor(flow)?.leg.flow ?? []));
    return this.#flows.filter((flow) => !continued.has(flow));
  }

  upTo(end: Flow): { readonly legs: readonly Leg[]; readonly joinedBy: Connection['joinedBy'] } {
    const legs: Leg[] = [{ tuple: end.tuple, flow: end }];
    let joinedBy: Connection['joinedBy'] = 'address';
    for (let flow: Flow | undefined = end; flow; ) {
      const previous = this.#predecessor(flow);
      if (!previous || legs.some((leg) => leg.flow === previous.leg.flow)) break;
      legs.unshift(previous.leg);
      joinedBy = previous.witness;
      flow = previous.leg.flow;
    }
    return { legs, joinedBy };
  }

  #predecessor(flow: Flow): { readonly leg: Leg; readonly witness: Connection['joinedBy'] } | undefined {
    const before = this.#before.get(tupleKey(flow.tuple));
    if (before) {
      const found = this.#byTuple.get(tupleKey(before))?.findLast((f) => f.isn === flow.isn);
      return { leg: { tuple: before, flow: found }, witness: 'conntrack' };
    }
    if (flow.isn === undefined) return undefined;
    const same = this.#byIsn.get(flow.isn)!;
    const found = same[same.indexOf(flow) - 1];
    if (!found || opened(flow) - opened(found) > SAME_NS) return undefined;
    return { leg: { tuple: found.tuple, flow: found }, witness: 'sequence number' };
  }
}

const opened = ({ seen }: Flow): bigint => seen[0]!.time;
