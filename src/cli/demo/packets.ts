/** The demo's last proof: the packets of real connections, captured on both nodes, beside the reference capture. */
import { translationsTo } from '../../trace/conntrack.ts';
import type { Connection } from '../../trace/connection.ts';
import { openingTuples } from '../../trace/flow.ts';
import { joinConnections } from '../../trace/join.ts';
import { observe } from '../../trace/observe.ts';
import { Capture, type CapturedFrame } from '../../trace/packet-socket.ts';
import { renderConnections, renderOutcome, shownHops } from '../../trace/render.ts';
import type { TraceNames } from '../../trace/table.ts';
import type { NodePlan } from '../../lab/plan.ts';
import type { IngressFact, Replica } from './facts.ts';
import { ask, PUBLISHED, type Stage, TARGET } from './proofs.ts';

const CONNECTIONS = 9;

async function capture(
  stage: Stage,
  node: NodePlan,
  replicas: readonly Replica[],
): Promise<readonly Connection[]> {
  const { lab } = stage;
  const points = lab.plan.nodes.map(({ name, netns }) => ({ name, netns }));
  const running = Capture.start(points, { any: [{ ports: [...new Set([PUBLISHED, TARGET])] }] });
  let frames: readonly CapturedFrame[] = [];
  try {
    for (let i = 0; i < CONNECTIONS; i++) await ask(stage, 'client', node.address, PUBLISHED);
  } finally {
    frames = running.stop();
  }
  const observations = observe(frames);
  return joinConnections({
    observations,
    entrances: [{ address: node.address, port: PUBLISHED, protocol: 'tcp' }],
    backends: new Set(replicas.map(({ address }) => address)),
    translations: translationsTo(node.netns, openingTuples(observations)),
  });
}

function namesFor({ lab }: Stage, ingress: readonly IngressFact[], replicas: readonly Replica[]): TraceNames {
  const { client, nodes } = lab.plan;
  return {
    addresses: new Map([
      [client.address, 'client'],
      ...nodes.map((node): [string, string] => [node.address, node.name]),
      ...ingress.flatMap(({ node, endpoint }): [string, string][] =>
        endpoint ? [[endpoint.address, `ingress endpoint of ${node}`]] : [],
      ),
      ...replicas.map(({ address, name, node }): [string, string] => [address, `${name} on ${node}`]),
    ]),
    macs: new Map([
      [client.mac, 'client'],
      ...nodes.map((node): [string, string] => [node.mac, `${node.name} uplink`]),
      ...ingress.flatMap(({ containers }) =>
        containers.map(({ mac, name }): [string, string] => [mac, name.split('.').slice(0, 2).join('.')]),
      ),
    ]),
  };
}

/** What the reference capture says of each hop, as values of this cluster: the endpoint carries its node's uplink MAC. */
function expectedHops(
  stage: Stage,
  connection: Connection,
  node: NodePlan,
  ingress: readonly IngressFact[],
): readonly (readonly [source: string, sourceMac: string, destination: string, destinationMac: string])[] {
  const { client } = stage.lab.plan;
  const ip = connection.backend?.ip ?? '';
  const endpoint = ingress.find((fact) => fact.node === node.name)?.endpoint ?? { address: '', mac: '' };
  const mac = ingress.flatMap((fact) => fact.containers).find((c) => c.address === ip)?.mac ?? '';
  const forward = [
    [client.address, client.mac, node.address, node.mac],
    [endpoint.address, node.mac, ip, mac],
  ] as const;
  return connection.kind === 'same host' ? forward : [...forward, [ip, mac, endpoint.address, endpoint.mac]];
}

export async function provePackets(
  stage: Stage,
  ingress: readonly IngressFact[],
  replicas: readonly Replica[],
): Promise<void> {
  const node = stage.lab.plan.nodes[0]!;
  const connections = await capture(stage, node, replicas);
  const names = namesFor(stage, ingress, replicas);
  for (const kind of ['same host', 'cross host'] as const) {
    const connection = connections.find((c) => c.kind === kind);
    const name = `packets of a ${kind} connection to ${node.name} are those of the reference capture`;
    if (!connection) {
      stage.checks.add(name, false, `none among ${connections.length} captured connections`);
      continue;
    }
    stage.print(renderConnections([connection], names));
    stage.print(`${renderOutcome(connection)}\n`);
    const owner = replicas.find(({ address }) => address === connection.backend?.ip)?.node;
    const problems = [
      ...mismatches(connection, expectedHops(stage, connection, node, ingress)),
      ...((owner === node.name) === (kind === 'same host') ? [] : [`the container is on ${owner}`]),
    ];
    stage.checks.add(
      name,
      problems.length === 0,
      problems.join('; ') || `${shownHops(connection).length} hops`,
    );
  }
}

function mismatches(
  connection: Connection,
  expected: readonly (readonly [string, string, string, string])[],
): string[] {
  const hops = shownHops(connection);
  const problems = hops.length === expected.length ? [] : [`${hops.length} hops, not ${expected.length}`];
  expected.forEach((values, index) => {
    const hop = hops[index];
    if (!hop) return;
    const seen = [hop.source.ip, hop.source.mac, hop.destination.ip, hop.destination.mac];
    const columns = ['source IP', 'source MAC', 'destination IP', 'destination MAC'];
    values.forEach((value, column) => {
      if (seen[column] !== value)
        problems.push(`hop ${index + 1} ${columns[column]} is ${seen[column]}, not ${value || 'known'}`);
    });
  });
  return problems;
}
