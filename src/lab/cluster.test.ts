import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { awaitReady, untilAnsweredBy } from './cluster.ts';
import { planLab } from './plan.ts';

test('a manager that only starts is waited for; a refusal ends the wait', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-cluster-'));
  const socket = join(folder, 'api.sock');
  const ready = [{ Description: { Hostname: 'node1' }, Status: { State: 'ready' } }];
  const answers: [status: number, body: object][] = [
    [503, { message: 'it starts' }],
    [200, ready],
  ];
  let asked = 0;
  const server = createServer((_, res) => {
    const [status, body] = answers[asked++]!;
    res.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
    res.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  t.after(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  const plan = planLab({ name: 'x', nodes: 1 });
  const here = { ...plan, nodes: plan.nodes.map((node) => ({ ...node, socket })) };
  await awaitReady(here);
  assert.equal(asked, 2);
  answers.push([500, { message: 'no' }]);
  await assert.rejects(awaitReady(here), /GET \/nodes: no/);
});

test('a port leads to all when as many connections in a row reach as many containers: a refusal is none', async () => {
  const answers = ['a', 'a', 'a', undefined, 'b', 'a'];
  const ask = async () => answers.shift();
  await untilAnsweredBy(2, 'node1', ask, { timeoutMs: 20_000 });
  assert.deepEqual(answers, []);
  await assert.rejects(untilAnsweredBy(2, 'node1', ask, { timeoutMs: 0 }), {
    message: /^waited for node1 to lead to 2 tasks;/,
  });
});
