import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EngineClient } from '../../lab/client.ts';
import { CheckList } from './checks.ts';
import { ingressFact, parseAnswer, replicaOf, replicasOf } from './facts.ts';

/** An engine that gives prepared answers. */
class PreparedEngine extends EngineClient {
  readonly #answers: Readonly<Record<string, unknown>>;

  constructor(answers: Readonly<Record<string, unknown>>) {
    super('/nowhere');
    this.#answers = answers;
  }

  override get<T>(path: string): Promise<T> {
    return Promise.resolve(this.#answers[path] as T);
  }
}

const CONTAINER = 'a'.repeat(64);

test('replicas come from the task list and the engine of their node', async () => {
  const task = (id: string, slot: number, node: string, state: string, desired = 'running') => ({
    ID: id,
    Slot: slot,
    NodeID: node,
    DesiredState: desired,
    Status: { State: state, ContainerStatus: { ContainerID: CONTAINER } },
    NetworksAttachments: [{ Network: { Spec: { Name: 'ingress' } }, Addresses: [`10.255.0.${slot + 3}/16`] }],
  });
  const node = (id: string, name: string) => ({
    ID: id,
    Description: { Hostname: name },
    Status: { State: 'ready' },
  });
  const manager = new PreparedEngine({
    '/nodes': [node('n1', 'node1'), node('n2', 'node2')],
    '/tasks': [
      task('t2', 2, 'n2', 'running'),
      task('t1', 1, 'n1', 'running'),
      task('t0', 1, 'n1', 'failed'),
      task('t9', 3, 'n1', 'running', 'shutdown'),
    ],
  });
  const engines: Record<string, EngineClient> = {
    node1: new PreparedEngine({ [`/containers/${CONTAINER}/json`]: { State: { Pid: 11 } } }),
    node2: new PreparedEngine({ [`/containers/${CONTAINER}/json`]: { State: { Pid: 22 } } }),
  };
  const replicas = await replicasOf(manager, 'web', (name) => engines[name]!);
  assert.deepEqual(
    replicas.map(({ name, node: on, address, pid }) => [name, on, address, pid]),
    [
      ['web.1', 'node1', '10.255.0.4', 11],
      ['web.2', 'node2', '10.255.0.5', 22],
    ],
  );
  const answer = parseAnswer(
    'container c1\nnode -\naddresses 10.255.0.5 172.18.0.2\nclient 10.255.0.2:4\nrequest /\n',
  );
  assert.equal(replicaOf(answer!, replicas)?.name, 'web.2');
  assert.equal(parseAnswer('<html>404</html>'), undefined);
});

test("a node's own ingress endpoint is told from the other nodes' and from containers", async () => {
  const entry = (Name: string, IPv4Address: string) => ({
    Name,
    IPv4Address,
    MacAddress: '02:00:00:00:00:01',
  });
  const engine = new PreparedEngine({
    '/networks/ingress': {
      IPAM: { Config: [{ Subnet: '10.255.0.0/16' }] },
      Peers: [{ Name: 'x', IP: '192.0.2.11' }],
      Containers: {
        'ingress-sbox-n1': entry('node1-ingress-endpoint', '10.255.0.2/16'),
        'ingress-sbox': entry('ingress-endpoint', '10.255.0.3/16'),
        [CONTAINER]: entry('web.1.abc', '10.255.0.4/16'),
      },
    },
  });
  const fact = await ingressFact(engine, 'node2');
  assert.equal(fact.endpoint?.address, '10.255.0.3');
  assert.deepEqual(
    fact.containers.map(({ name }) => name),
    ['web.1.abc'],
  );
});

test('the demo holds only when every check does, and a proof that fails to run is a check that failed', async () => {
  const checks = new CheckList();
  assert.equal(checks.held, false, 'nothing proven');
  checks.add('a', true, 'seen');
  assert.equal(checks.held, true);
  assert.equal(checks.exitCode(true), 0);
  assert.equal(checks.exitCode(false), 130, 'interrupted');
  await checks.attempt('b', () => Promise.reject(new Error('no route')));
  assert.equal(checks.held, false);
  assert.equal(checks.exitCode(true), 1);
  assert.equal(checks.render(), 'ok      a: seen\nFAILED  b: no route');
});
