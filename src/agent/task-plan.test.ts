/** What a new agent makes of what an old one, or a reboot, has left of a task whose reports were lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timestamp } from '../kit/clock.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import type { ContainerId } from '../model/ids.ts';
import { newStatus, taskItem } from './fake-node.ts';
import { graceMs, type Notes, type Observed, opened, planTask } from './task-plan.ts';

const ID = 'c'.repeat(64) as ContainerId;
const NOW = 1_000_000;
const notes: Notes = { started: false, pulling: false, failure: undefined, stoppingMs: undefined };
const container = (status: ContainerInfo['status'], exitCode = 0) =>
  ({ status, exitCode, pid: 7, config: { spec: {} } }) as unknown as ContainerInfo;

/** The manager has heard nothing but that the node accepted it. */
const accepted = taskItem('t1', { status: newStatus('accepted') });

function next(seen: Partial<Observed>, started: boolean): string {
  const nothing = { container: undefined, sandbox: true, attached: { hostPorts: [] }, files: true };
  const rest = {
    payloads: true,
    imagePresent: true,
    networksReady: true,
    health: 'none',
    notListening: [],
  } as const;
  const observed = { id: ID, ...nothing, ...rest, ...seen, notes: { ...notes, started } };
  const step = planTask(accepted, accepted.status, observed, NOW);
  return step.kind === 'report' ? `${step.status.state}: ${step.status.err}` : step.kind;
}

test('one that was started once is never started again, whatever became of its container', () => {
  const gone = 'failed: the container is gone: it was removed outside Skein';
  assert.equal(next({ container: undefined }, true), gone);
  assert.equal(next({ container: undefined }, false), 'preparing: ', 'nothing of it has run yet');
  assert.equal(
    next({ container: container('unknown') }, true),
    'failed: the node restarted while the task ran',
  );
  assert.equal(next({ container: container('unknown') }, false), 'remove-container', 'half made, made anew');
});

test('one that runs goes on, one that has ended is told as it ended', () => {
  assert.equal(next({ container: container('running') }, true), 'running: ');
  assert.equal(next({ container: container('running'), attached: undefined }, true), 'attach-sandbox');
  const nowhere = 'failed: the network namespace of the container is gone';
  assert.equal(next({ container: container('running'), sandbox: false }, true), nowhere);
  assert.equal(next({ container: container('stopped') }, true), 'complete: ');
  assert.equal(next({ container: container('stopped', 3) }, true), 'failed: task: non-zero exit (3)');
});

test('the grace is as asked, ten seconds, or for ever: never none because of a sign', () => {
  const grace = (StopGracePeriod?: number) =>
    graceMs(StopGracePeriod === undefined ? {} : { StopGracePeriod });
  assert.deepEqual([grace(), grace(0), grace(2e9), grace(-1e9)], [10_000, 0, 2000, Infinity]);
});

test("that a port opens is told by this node's clock, whichever clock the time is of that is known", () => {
  for (const hours of [1, -1]) {
    const known = { ...newStatus('running'), timestamp: timestamp(NOW + hours * 3_600_000) };
    const said = opened({ ...known, notListening: [80, 443] }, [443], NOW);
    assert.deepEqual(said, { ...known, timestamp: timestamp(NOW), notListening: [443] });
  }
});
