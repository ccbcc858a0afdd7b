/** What `skein explain` says of a connection, against the packets that the nodes' kernels show. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { Capture } from '../../src/trace/packet-socket.ts';
import type { Packet } from '../../src/trace/decode.ts';
import type { ExplainAnswer } from '../../src/trace/explain-question.ts';
import { observe } from '../../src/trace/observe.ts';
import type { PathEnd } from '../../src/trace/table.ts';
import type { Stage } from './stage.ts';

export interface Question {
  readonly client: string;
  readonly target: string;
  readonly protocol?: 'tcp' | 'udp';
  readonly backend?: string;
}

export const explained = (stage: Stage, query: Question, manager = 'node1'): Promise<ExplainAnswer> =>
  stage.lab.engine(manager).get<ExplainAnswer>('/skein/explain', { query: { ...query } });

/**
 * Every packet that is explained is seen on a wire, and every packet on the way to a container was explained. `ports`
 * are those of the service's side, before and after translation; any other is the client's own.
 */
export async function assertWalked(
  stage: Stage,
  answer: ExplainAnswer,
  ports: readonly number[],
  call: () => Promise<unknown>,
): Promise<void> {
  const points = stage.lab.plan.nodes.flatMap(({ name, netns }) => [
    { name, netns },
    { name, netns: join(stage.lab.node(name).runRoot, 'netns', 'fabric') },
  ]);
  const capture = Capture.start(points, { any: [{ ports }] });
  await call();
  const packets = observe(capture.stop())
    .map(({ packet }) => packet)
    .filter(({ tcp }) => tcp === undefined || tcp.flags.includes('SYN'));
  const line = (source: PathEnd, destination: PathEnd, flags: readonly string[]): string => {
    const end = ({ ip, mac, port }: PathEnd) => `${ip} ${mac} ${ports.includes(port!) ? port : 'own port'}`;
    return `${end(source)} -> ${end(destination)} ${flags.join()}`;
  };
  const seen = ({ source, destination, tcp }: Packet, nameless: boolean): string =>
    line(nameless ? { ...source, mac: undefined } : source, destination, tcp?.flags ?? []);
  const observed = new Set(packets.flatMap((packet) => [seen(packet, false), seen(packet, true)]));
  const rows = answer.paths
    .flatMap((path) => path.rows)
    // Translated before it was on any wire.
    .filter(({ destination }) => destination.mac !== undefined);
  const planned = new Set(rows.map(({ source, destination, flags }) => line(source, destination, flags)));
  for (const row of planned) assert.ok(observed.has(row), `${row} is not among\n${[...observed].join('\n')}`);
  for (const packet of packets.filter(({ destination }) => ports.includes(destination.port)))
    assert.ok(
      planned.has(seen(packet, false)) || planned.has(seen(packet, true)),
      `${seen(packet, false)} was not explained:\n${[...planned].join('\n')}`,
    );
}
