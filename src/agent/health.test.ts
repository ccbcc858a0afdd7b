import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { HealthSpec } from '../model/spec.ts';
import { FakeNode, IMAGE, idOf, taskItem } from './fake-node.ts';
import { MAX_OUTPUT } from './health-plan.ts';
import { TaskFiles } from './task-files.ts';

const S = 1e9;

async function node(t: TestContext, health: HealthSpec): Promise<FakeNode> {
  const made = await FakeNode.make();
  t.after(() => made.close());
  made.runtime.images.offer(IMAGE);
  made.assign(
    't1',
    taskItem('t1', {
      spec: { ContainerSpec: { Image: IMAGE, Healthcheck: { Test: ['CMD', 'probe'], ...health } } },
    }),
  );
  made.start().send();
  return made;
}

/** What the next probes exit with; the last for all that follow. */
function answers(n: FakeNode, ...codes: number[]): void {
  n.runtime.execProgram = ({ exit }) => exit(codes.length > 1 ? codes.shift()! : codes[0]!);
}

const healthOf = (n: FakeNode) => n.tasks.get('t1')!.status.health;
const probes = (n: FakeNode) => n.calls('exec').length;

test('a task runs from its first good probe on', async (t) => {
  const n = await node(t, { Interval: 2 * S });
  answers(n, 1, 0);
  await n.untilState('t1', 'starting');
  await n.until('one probe', () => probes(n) === 1);
  assert.equal(n.tasks.get('t1')!.status.state, 'starting');
  await n.untilState('t1', 'running');
  assert.equal(healthOf(n), 'healthy');
  assert.equal(probes(n), 2);
  assert.deepEqual(n.calls('exec')[0], `exec ${idOf('t1')} probe`);
});

test('an unhealthy container leaves the rotation, is stopped, and its task fails in words', async (t) => {
  const n = await node(t, { Interval: 1 * S, Retries: 2 });
  n.runtime.endsOnTerm = false;
  answers(n, 0, 0, 1);
  await n.untilState('t1', 'running');
  await n.until('unhealthy', () => healthOf(n) === 'unhealthy');
  await n.untilState('t1', 'failed');
  assert.deepEqual(n.calls('kill'), [`kill ${idOf('t1')} SIGTERM`, `kill ${idOf('t1')} SIGKILL`]);
  assert.equal(n.tasks.get('t1')!.status.err, 'task: non-zero exit (137): dockerexec: unhealthy container');
});

test('a container that never gets healthy fails before it ever ran', async (t) => {
  const n = await node(t, { Interval: 1 * S, Retries: 1 });
  answers(n, 1);
  await n.untilState('t1', 'failed');
  assert.ok(!n.states('t1').includes('running'));
  assert.equal(n.tasks.get('t1')!.status.err, 'task: non-zero exit (143): dockerexec: unhealthy container');
});

test('of what a probe says, so much is kept as Docker keeps, and is said to be cut', async (t) => {
  const n = await node(t, { Interval: 1 * S });
  const says = ['x'.repeat(MAX_OUTPUT), 'y'.repeat(MAX_OUTPUT + 1)];
  n.runtime.execProgram = async ({ print, exit }) => {
    await print('stdout', says.shift() ?? '');
    exit(0);
  };
  await n.until('two probes', () => probes(n) > 2);
  const { log } = (await new TaskFiles(n.dataRoot).readHealth(idOf('t1')))!;
  assert.deepEqual(
    log.slice(0, 2).map(({ output }) => output),
    ['x'.repeat(MAX_OUTPUT), `${'y'.repeat(MAX_OUTPUT - 3)}...`],
  );
});

test('a probe that hangs is killed, and counts as failed', async (t) => {
  const n = await node(t, { Interval: 1 * S, Timeout: 3 * S, Retries: 2 });
  const inputs: { destroyed: boolean }[] = [];
  n.runtime.execProgram = ({ stdin }) => void inputs.push(stdin);
  await n.untilState('t1', 'failed');
  assert.equal(probes(n), 2);
  assert.deepEqual(
    inputs.map(({ destroyed }) => destroyed),
    [true, true],
    'its process has ended',
  );
});

test('a restarted agent goes on: same count, no second start, no gap in the rotation', async (t) => {
  const n = await node(t, { Interval: 10 * S, Retries: 2 });
  answers(n, 0, 1);
  await n.untilState('t1', 'running');
  await n.until('the first bad probe', () => probes(n) === 2);
  await n.stop();
  n.start().send();
  await n.clock.advance(1_000);
  assert.equal(n.tasks.get('t1')!.status.state, 'running');
  assert.equal(healthOf(n), 'healthy');
  assert.equal(probes(n), 2, 'the next probe is due when it would have been');
  await n.untilState('t1', 'failed');
  assert.equal(probes(n), 3);
  assert.equal(n.calls('start').length, 1);
});

test('a clock that is set, ahead or back, delays no probe', async (t) => {
  const n = await node(t, { Interval: 10 * S });
  answers(n, 0);
  await n.untilState('t1', 'running');
  for (const hours of [-1, 2]) {
    n.clock.set(hours * 3_600_000);
    const before = probes(n);
    await n.clock.advance(20_000);
    await n.until('the next probes', () => probes(n) >= before + 2);
  }
  answers(n, 1);
  n.clock.set(-3_600_000);
  await n.untilState('t1', 'failed');
});

test('without a check, and with one that is switched off, running is enough', async (t) => {
  const n = await node(t, { Test: ['NONE'] });
  await n.untilState('t1', 'running');
  assert.equal(healthOf(n), 'none');
  await n.clock.advance(60_000);
  assert.equal(probes(n), 0);
});
