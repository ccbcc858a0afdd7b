/** A connection as JSON, whole: every hop of both ways and where it was seen. Pure. */
import type { Connection, Hop } from './connection.ts';
import { rowsOf, type Uncertainties } from './render.ts';
import type { PathEnd, TraceNames } from './table.ts';

export function connectionJson(connection: Connection, names: TraceNames, clocks: Uncertainties): object {
  const { protocol, client, target, backend, kind, joinedBy, outcome, resetBy, retransmissions } = connection;
  const { hops, started, ended, answeredIn } = connection;
  const named = (end: PathEnd) => ({
    ip: end.ip,
    ...(end.port !== undefined && { port: end.port }),
    ...(end.mac !== undefined && { mac: end.mac }),
    ...(names.addresses.has(end.ip) && { name: names.addresses.get(end.ip) }),
  });
  const rows = rowsOf(connection, clocks, hops);
  return {
    protocol,
    case: kind,
    client: named(client),
    target: named(target),
    ...(backend && { backend: named(backend) }),
    outcome,
    ...(resetBy && { resetBy }),
    retransmissions: { client: retransmissions.forward, container: retransmissions.back },
    started: String(started),
    lastedNs: Number(ended - started),
    ...(answeredIn !== undefined && { answeredInNs: answeredIn }),
    joinedBy,
    hops: hops.map((hop, index) => {
      const { hop: number, source, destination, flags, translation, took, uncertainty } = rows[index]!;
      return {
        hop: number,
        way: hop.way,
        source: named(source),
        destination: named(destination),
        flags,
        ...(translation !== undefined && { translated: translation }),
        ...(took !== undefined && { tookNs: took }),
        ...(uncertainty !== undefined && uncertainty > 0 && { uncertaintyNs: uncertainty }),
        ...(hop.tunnel && { tunnel: hop.tunnel }),
        seen: sightings(hop, started),
      };
    }),
  };
}

const sightings = ({ sightings: seen }: Hop, started: bigint) =>
  seen.map(({ point, link, direction, time }) => ({
    node: point,
    link,
    direction,
    afterNs: Number(time - started),
  }));
