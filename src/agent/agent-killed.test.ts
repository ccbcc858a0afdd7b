/** An agent that is killed anywhere, and the next one on what it left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isBefore, type TaskState } from '../model/task-state.ts';
import { FakeNode, IMAGE, newStatus, taskItem } from './fake-node.ts';

/** Kills the agent after its first, second, ... call of containerd, kernel or manager, until it survives the whole story. */
async function killAtEachCall(story: (cut: number) => Promise<boolean>): Promise<number> {
  for (let cut = 0; cut < 300; cut++) if (await story(cut)) return cut;
  throw new Error('the story never ends');
}

for (const lostReports of [false, true])
  test(`killed at any call on the way up${lostReports ? ', its reports lost' : ''}: the next agent comes to the same end`, async () => {
    const cuts = await killAtEachCall(async (cut) => {
      const n = await FakeNode.make();
      try {
        n.runtime.images.offer(IMAGE);
        n.assign('t1', taskItem('t1'));
        n.start(cut).send();
        await n.until('dead or running', () => n.isDead || n.tasks.get('t1')!.status.state === 'running');
        const survived = !n.isDead;
        await n.stop();
        if (lostReports) n.assign('t1', { ...n.tasks.get('t1')!, status: newStatus() });
        const from = lostReports ? n.reports.length : 0;
        n.start().send();
        await n.untilState('t1', 'running');
        assertForward(n.states('t1').slice(from) as TaskState[]);
        // A start refused to the dead reached nobody, so one start is one process.
        assert.equal(n.calls('start').length, 1, `cut at ${cut}`);
        assert.equal((await n.runtime.list()).length, 1);
        assert.equal((await n.network.sandboxes()).length, 1);
        return survived;
      } finally {
        await n.close();
      }
    });
    assert.ok(cuts > 20, `${cuts} places to die at`);
  });

test('killed at any call on the way down: the next agent stops, reports, and leaves nothing behind', async () => {
  const cuts = await killAtEachCall(async (cut) => {
    const n = await FakeNode.make();
    const gone = async () => (await n.runtime.list()).length + (await n.network.sandboxes()).length === 0;
    try {
      n.runtime.images.offer(IMAGE);
      n.runtime.endsOnTerm = false;
      n.assign('t1', taskItem('t1'));
      n.start().send();
      await n.untilState('t1', 'running');
      await n.stop();
      n.start(cut);
      n.want('t1', 'shutdown');
      await n.until('dead or down', () => n.isDead || n.tasks.get('t1')!.status.state === 'shutdown');
      if (!n.isDead) {
        n.assign('t1', undefined);
        n.send();
        await n.until('dead or gone', async () => n.isDead || (await gone()));
      }
      const survived = !n.isDead;
      await n.stop();
      n.start().send();
      if (n.tasks.has('t1')) await n.untilState('t1', 'shutdown');
      n.assign('t1', undefined);
      n.send();
      await n.until('gone', gone);
      assert.equal(n.calls('start').length, 1);
      assertForward(n.states('t1') as TaskState[]);
      return survived;
    } finally {
      await n.close();
    }
  });
  assert.ok(cuts > 20, `${cuts} places to die at`);
});

function assertForward(states: readonly TaskState[]): void {
  states.forEach((state, i) => assert.ok(i === 0 || !isBefore(state, states[i - 1]!), states.join(' ')));
}
