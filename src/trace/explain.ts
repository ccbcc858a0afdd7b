/**
 * The way of a connection through the whole cluster, without traffic: each node walks its part of what it has planned
 * (explain-walk.ts), here the parts are joined, there and back, for every backend that the connection may take. Nodes are
 * asked in rounds, all at once, and a node that says nothing ends the ways that lead through it.
 *
 * INVARIANT: rounds are counted, so it ends whatever nodes answer. Cost: four rounds there and back, a question a node and round.
 */
import { SkeinError } from '../model/errors.ts';
import type { Ipv4, NodeId } from '../model/ids.ts';
import {
  type Leg,
  type Loss,
  OPENING_SIZE,
  type Tracked,
  type WalkedHop,
  type WalkedPacket,
  type WalkStart,
} from '../rpc/explain.ts';
import { type PathKind, type PathRow, translationOf } from './table.ts';

/** A connection as it is opened, and who is who. */
export interface Journey {
  readonly starts: readonly { readonly nodeId: NodeId; readonly start: WalkStart }[];
  /** Whose uplink has this address. */
  nodeAt(ip: Ipv4): NodeId | undefined;
  hostname(id: NodeId): string;
  /** Where its tunnels begin. */
  vtep(id: NodeId): Ipv4;
  /** Only ways to this address are of interest. */
  readonly backend?: Ipv4 | undefined;
}

export type AskNode = (nodeId: NodeId, starts: readonly WalkStart[]) => Promise<readonly (readonly Leg[])[]>;

export interface ExplainedPath {
  readonly kind: PathKind;
  readonly rows: readonly PathRow[];
  readonly decisions: readonly string[];
  /** Whom it leads to; undefined where it is lost before. */
  readonly backend: Ipv4 | undefined;
  readonly loss: Loss | undefined;
}

export interface Explanation {
  readonly paths: readonly ExplainedPath[];
  /** Tasks that are not chosen at the moment, and why not. */
  readonly passedOver: readonly string[];
}

type Way = 'forward' | 'back';

/** A way so far, and where it goes on. */
interface Traveller {
  readonly nodeId: NodeId;
  readonly start: WalkStart;
  readonly hops: readonly (WalkedHop & { readonly way: Way })[];
  readonly decisions: readonly string[];
  readonly tracked: ReadonlyMap<NodeId, readonly Tracked[]>;
  readonly tunnelled: boolean;
  readonly backend: Ipv4 | undefined;
}

const MOST_ROUNDS = 8;

export async function explain(journey: Journey, ask: AskNode): Promise<Explanation> {
  const paths: ExplainedPath[] = [];
  const passedOver = new Set<string>();
  let travellers = journey.starts.map(
    ({ nodeId, start }): Traveller => ({
      ...{ nodeId, start, hops: [], decisions: [], tracked: new Map(), tunnelled: false, backend: undefined },
    }),
  );
  for (let round = 0; travellers.length > 0; round++) {
    const next: Traveller[] = [];
    for (const [traveller, answer] of await askAll(travellers, ask)) {
      if (answer instanceof SkeinError || round >= MOST_ROUNDS) {
        const why =
          answer instanceof SkeinError ? silent(journey.hostname(traveller.nodeId), answer) : endless;
        paths.push(finished(traveller, why));
        continue;
      }
      for (const leg of answer) {
        for (const task of leg.passedOver) passedOver.add(task);
        if (!isAsked(leg, journey.backend)) continue;
        const went = advance(traveller, leg);
        const onward = goOn(went, leg, journey);
        if ('nodeId' in onward) next.push(onward);
        else paths.push(finished(went, onward.loss));
      }
    }
    travellers = next;
  }
  if (paths.length === 0 && journey.backend !== undefined) paths.push(notLedTo(journey.backend));
  return { paths, passedOver: [...passedOver] };
}

/** The rules choose others. */
const notLedTo = (backend: Ipv4): ExplainedPath => ({
  ...{ kind: 'lost', rows: [], decisions: [], backend: undefined },
  loss: { code: 'no-backend', text: `the rules do not lead to ${backend}` },
});

const endless: Loss = { code: 'endless', text: 'it goes round in circles between nodes' };
const silent = (hostname: string, error: SkeinError): Loss => ({
  code: 'no-answer',
  text: `${hostname} says nothing of its part of the way: ${error.message}`,
});

/** Each traveller with the legs its node gave, or with what went wrong. */
async function askAll(
  travellers: readonly Traveller[],
  ask: AskNode,
): Promise<readonly (readonly [Traveller, readonly Leg[] | SkeinError])[]> {
  const groups = [...Map.groupBy(travellers, ({ nodeId }) => nodeId)];
  const answers = await Promise.all(
    groups.map(async ([nodeId, group]) => {
      try {
        const legs = await ask(
          nodeId,
          group.map(({ start }) => start),
        );
        return group.map((traveller, n) => [traveller, legs[n] ?? []] as const);
      } catch (error) {
        return group.map((traveller) => [traveller, SkeinError.from(error)] as const);
      }
    }),
  );
  return answers.flat();
}

/** What came to a container, or is on its way to one, is of interest where it is the one that was named. */
const isAsked = ({ end }: Leg, backend: Ipv4 | undefined): boolean =>
  backend === undefined ||
  end.kind === 'lost' ||
  end.kind === 'uplink' ||
  end.packet.reply ||
  end.packet.destination.ip === backend;

function advance(traveller: Traveller, leg: Leg): Traveller {
  const way: Way = traveller.start.packet.reply ? 'back' : 'forward';
  const places = new Set(leg.tracked.map(({ place }) => place));
  const kept = (traveller.tracked.get(traveller.nodeId) ?? []).filter(({ place }) => !places.has(place));
  return {
    ...traveller,
    hops: joinHops(
      traveller.hops,
      leg.hops.map((hop) => ({ ...hop, way })),
    ),
    decisions: [...traveller.decisions, ...leg.decisions],
    tracked: new Map(traveller.tracked).set(traveller.nodeId, [...kept, ...leg.tracked]),
    tunnelled: traveller.tunnelled || leg.end.kind === 'tunnel',
  };
}

/** From uplink to uplink each end knows its own MAC: one hop. */
function joinHops(before: Traveller['hops'], after: Traveller['hops']): Traveller['hops'] {
  const [last, first] = [before.at(-1), after[0]];
  if (!last?.outside || !first?.outside || last.destinationMac || first.sourceMac || last.way !== first.way)
    return [...before, ...after];
  const joined = { ...last, destinationMac: first.destinationMac };
  return [...before.slice(0, -1), joined, ...after.slice(1)];
}

/** The traveller at its next node, or turned round; or the end of its way. */
function goOn(
  went: Traveller,
  { end }: Leg,
  journey: Journey,
): Traveller | { readonly loss: Loss | undefined } {
  switch (end.kind) {
    case 'lost':
      return { loss: end.loss };
    case 'delivered': {
      if (end.packet.reply) return { loss: undefined };
      const from = { at: 'container', id: end.place } as const;
      return { ...moved(went, went.nodeId, from, answerTo(end.packet)), backend: end.packet.destination.ip };
    }
    case 'tunnel': {
      const nodeId = journey.nodeAt(end.vtep);
      if (!nodeId) return { loss: { code: 'no-fdb', text: `no node has the tunnel endpoint ${end.vtep}` } };
      const { vni, sourceMac, destinationMac } = end;
      const from = { at: 'tunnel', vni, sourceMac, destinationMac, vtep: journey.vtep(went.nodeId) } as const;
      return moved(went, nodeId, from, end.packet);
    }
    case 'uplink': {
      const nodeId = journey.nodeAt(end.packet.destination.ip);
      if (nodeId) return moved(went, nodeId, { at: 'uplink' }, end.packet);
      if (end.packet.reply) return { loss: undefined };
      const text = `it leaves the cluster by ${journey.hostname(went.nodeId)}: no node has the address ${end.packet.destination.ip}`;
      return { loss: { code: 'no-route', text } };
    }
  }
}

const moved = (
  went: Traveller,
  nodeId: NodeId,
  from: WalkStart['from'],
  packet: WalkedPacket,
): Traveller => ({
  ...went,
  nodeId,
  start: { from, packet, tracked: went.tracked.get(nodeId) ?? [] },
});

const answerTo = (packet: WalkedPacket): WalkedPacket => ({
  ...packet,
  source: packet.destination,
  destination: packet.source,
  reply: true,
  size: Math.min(packet.size, OPENING_SIZE),
});

function finished(traveller: Traveller, loss: Loss | undefined): ExplainedPath {
  const { hops, decisions, backend, tunnelled, start } = traveller;
  const kind = loss ? 'lost' : tunnelled ? 'cross host' : 'same host';
  // As the reference capture: the way there, and across hosts the answer over the overlay; of a lost one all there is.
  const shown = hops.filter(({ way, outside }) => loss ?? (way === 'forward' || (tunnelled && !outside)));
  const flags = { forward: ['SYN'], back: ['SYN', 'ACK'] } as const;
  const rows = shown.map((hop, n): PathRow => {
    const before = shown[n - 1];
    return {
      kind,
      hop: n + 1,
      source: { ...hop.source, mac: hop.sourceMac },
      destination: { ...hop.destination, mac: hop.destinationMac },
      flags: start.packet.protocol === 'tcp' ? flags[hop.way] : [],
      translation: before?.way === hop.way ? translationOf(before, hop) : undefined,
    };
  });
  return { kind, rows, decisions, backend, loss };
}
