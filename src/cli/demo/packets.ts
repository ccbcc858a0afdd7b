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
import { mismatches, type ReferenceCase, referenceHops } from './reference.ts';

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

export async function provePackets(
  stage: Stage,
  ingress: readonly IngressFact[],
  replicas: readonly Replica[],
): Promise<void> {
  const node = stage.lab.plan.nodes[0]!;
  const connections = await capture(stage, node, replicas);
  const names = namesFor(stage, ingress, replicas);
  const { client } = stage.lab.plan;
  const place: ReferenceCase = {
    client: { ip: client.address, mac: client.mac },
    node: { name: node.name, ip: node.address, mac: node.mac },
    ...{ published: PUBLISHED, target: TARGET, ingress },
  };
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
      ...mismatches(connection, referenceHops(place, connection)),
      ...((owner === node.name) === (kind === 'same host') ? [] : [`the container is on ${owner}`]),
    ];
    stage.checks.add(
      name,
      problems.length === 0,
      problems.join('; ') || `${shownHops(connection).length} hops`,
    );
  }
}
