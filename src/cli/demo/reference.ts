/** The reference capture's hops of one connection as values of this cluster, and where a captured one differs. Pure. */
import type { TcpFlag } from '../../trace/decode.ts';
import type { Connection, Hop } from '../../trace/connection.ts';
import { shownHops } from '../../trace/render.ts';
import type { IngressFact } from './facts.ts';

interface End {
  readonly ip: string;
  readonly mac: string;
  /** Undefined: whichever the client or the translation took. */
  readonly port?: number;
}

export interface ReferenceHop {
  readonly source: End;
  readonly destination: End;
  readonly flags: readonly TcpFlag[];
}

/** Where connections come in, and who is there. An address or MAC that is not known is none: no packet bears it. */
export interface ReferenceCase {
  readonly client: End;
  readonly node: End & { readonly name: string };
  readonly published: number;
  readonly target: number;
  readonly ingress: readonly IngressFact[];
}

const UNKNOWN = { address: '', mac: '' };

/** The ingress endpoint carries its node's uplink MAC. */
export function referenceHops(
  { client, node, published, target, ingress }: ReferenceCase,
  { kind, backend }: Pick<Connection, 'kind' | 'backend'>,
): readonly ReferenceHop[] {
  const endpoint = ingress.find((fact) => fact.node === node.name)?.endpoint ?? UNKNOWN;
  const ip = backend?.ip ?? '';
  const mac = ingress.flatMap((fact) => fact.containers).find((c) => c.address === ip)?.mac ?? '';
  const forward: readonly ReferenceHop[] = [
    { source: client, destination: { ip: node.ip, mac: node.mac, port: published }, flags: ['SYN'] },
    {
      source: { ip: endpoint.address, mac: node.mac },
      destination: { ip, mac, port: target },
      flags: ['SYN'],
    },
  ];
  if (kind === 'same host') return forward;
  const answer: ReferenceHop = {
    source: { ip, mac, port: target },
    destination: { ip: endpoint.address, mac: endpoint.mac },
    flags: ['SYN', 'ACK'],
  };
  return [...forward, answer];
}

type Seen = Pick<Hop, 'source' | 'destination' | 'flags'>;

/** What is compared of a hop, in the words of the table. */
const COLUMNS: readonly (readonly [name: string, of: (hop: Seen) => string | number | undefined])[] = [
  ['source IP', ({ source }) => source.ip],
  ['source MAC', ({ source }) => source.mac],
  ['source port', ({ source }) => source.port],
  ['destination IP', ({ destination }) => destination.ip],
  ['destination MAC', ({ destination }) => destination.mac],
  ['destination port', ({ destination }) => destination.port],
  ['flags', ({ flags }) => flags.join(', ')],
];

/** In words; empty where it is the reference's. */
export function mismatches(
  connection: Pick<Connection, 'hops' | 'kind'>,
  reference: readonly ReferenceHop[],
): readonly string[] {
  const hops = shownHops(connection);
  const number = hops.length === reference.length ? [] : [`${hops.length} hops, not ${reference.length}`];
  const differences = reference.flatMap((wanted, n) =>
    COLUMNS.flatMap(([name, of]) => {
      const [seen, value] = [hops[n] && of(hops[n]), of(wanted)];
      if (!hops[n] || value === undefined || seen === value) return [];
      return [`hop ${n + 1} ${name} is ${seen ?? 'unknown'}, not ${value || 'known'}`];
    }),
  );
  return [...number, ...differences];
}
