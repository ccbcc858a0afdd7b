/** How the tasks of a service are replaced: by an update in its order, by a rollback, after a failure. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { delay, IMAGE, type Stage, type TaskLine } from './stage.ts';

export function serviceUpdates(stageOf: () => Stage): void {
  /** Until the managers have written so: the CLI ends by its own watch, which may be sooner. */
  const reaches = (service: string, wanted: string) =>
    until(
      `the update of ${service} to be ${wanted}`,
      async () => {
        // No status until the managers have begun it.
        const format = '{{with .UpdateStatus}}{{.State}}{{end}}';
        const seen = (await stageOf().ok('service', 'inspect', '--format', format, service)).trim();
        return seen === wanted || seen;
      },
      { timeoutMs: 20_000 },
    );

  void test('stop-first: the old task of a slot has ended before the new one starts', async () => {
    await stageOf().create('order', '--replicas', '2', '--update-order', 'stop-first', '--env', 'A=1', IMAGE);
    await stageOf().ok('service', 'update', '--env-add', 'A=2', 'order');
    await reaches('order', 'completed');
    const tasks = await stageOf().tasks('order');
    assert.equal(tasks.filter((t) => t.state.startsWith('Running')).length, 2);
    for (const { id, state } of tasks.filter((t) => !t.state.startsWith('Running'))) {
      assert.match(state, /^Shutdown/);
      const [old] = JSON.parse(await stageOf().ok('inspect', id)) as {
        Slot: number;
        Status: { Timestamp: string };
      }[];
      const next = tasks.find((t) => t.name === `order.${old!.Slot}` && t.state.startsWith('Running'))!;
      const [fresh] = JSON.parse(await stageOf().ok('inspect', next.id)) as {
        Status: { Timestamp: string };
      }[];
      assert.ok(fresh!.Status.Timestamp > old!.Status.Timestamp);
    }
  });

  void test('start-first with parallelism 2: never fewer run than wanted, and never more than two are on their way', async (t) => {
    stageOf().removeAfter(t, 'order');
    await stageOf().ok('service', 'scale', 'order=4');
    let [least, most] = [Infinity, 0];
    const isUp = (task: TaskLine) => task.state.startsWith('Running');
    const abort = new AbortController();
    const watching = (async () => {
      while (!abort.signal.aborted) {
        const tasks = await stageOf().tasks('order');
        least = Math.min(least, tasks.filter(isUp).length);
        most = Math.max(most, tasks.filter((t) => t.desired === 'Running' && !isUp(t)).length);
      }
    })();
    await stageOf().ok(
      ...['service', 'update', '--update-order', 'start-first', '--update-parallelism', '2'],
      ...['--env-add', 'A=3', 'order'],
    );
    abort.abort();
    await watching;
    assert.ok(least >= 4, `at least four ran at any time, seen ${least}`);
    assert.ok(most <= 2, `at most two were on their way, seen ${most}`);
  });

  void test('an update that pauses is rolled back: what it had not reached runs on, and the CLI sees the end', async (t) => {
    stageOf().removeAfter(t, 'back');
    // The delay keeps the second slot out of it: its turn comes when the first task runs, which is before that fails.
    const slow = ['--update-delay', '10s', '--rollback-monitor', '100ms'];
    await stageOf().create('back', '--replicas', '3', ...slow, IMAGE);
    const before = await stageOf().running('back');
    const failing = ['--update-monitor', '10s', '--args', 'exit=3'];
    await stageOf().ok('service', 'update', '--detach', ...failing, 'back');
    await reaches('back', 'paused');
    assert.match(
      await stageOf().ok('service', 'inspect', '--pretty', 'back'),
      /Message:\s+update paused due to failure or early termination of task \w{25}/,
    );
    assert.match(await stageOf().ok('service', 'rollback', 'back'), /verify: Service \S+ converged/);
    await reaches('back', 'rollback_completed');
    const after = await stageOf().running('back');
    assert.equal(after.length, 3);
    assert.equal(after.filter(({ id }) => before.some((t) => t.id === id)).length, 2);
    assert.match(
      await stageOf().ok('service', 'inspect', '--pretty', 'back'),
      /UpdateStatus:\n State:\s+rollback_completed\n Started:\s+\S.*\n Message:\s+rollback completed\n/,
    );
  });

  void test('a task that fails is replaced after the delay, up to the attempts, with the reason', async (t) => {
    stageOf().removeAfter(t, 'crash');
    const flags = ['--detach', '--restart-delay', '500ms', '--restart-max-attempts', '2'];
    await stageOf().create('crash', ...flags, IMAGE, 'exit=3', 'after=0');
    await until(
      'three failures',
      async () => {
        const failed = (await stageOf().tasks('crash')).filter((t) => t.state.startsWith('Failed'));
        return failed.length === 3 || `${failed.length} seen`;
      },
      { timeoutMs: 20_000 },
    );
    for (const task of await stageOf().tasks('crash'))
      assert.match(task.error, /^"?task: non-zero exit \(3\)"?$/);
    const times = await Promise.all(
      (await stageOf().tasks('crash')).map(async ({ id }) => {
        const [task] = JSON.parse(await stageOf().ok('inspect', id)) as {
          CreatedAt: string;
          Status: { Timestamp: string };
        }[];
        return { created: Date.parse(task!.CreatedAt), ended: Date.parse(task!.Status.Timestamp) };
      }),
    );
    times.sort((a, b) => a.created - b.created);
    for (let i = 1; i < times.length; i++) assert.ok(times[i]!.ended - times[i - 1]!.ended >= 500);
    await delay(1_000);
    assert.equal((await stageOf().tasks('crash')).length, 3, 'no fourth one');
  });
}
