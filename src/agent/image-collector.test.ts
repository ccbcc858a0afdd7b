import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TaskImage } from '../containerd/runtime.ts';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import type { TaskId } from '../model/ids.ts';
import type { TaskItem } from '../rpc/messages.ts';
import { ImageCollector } from './image-collector.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;
const WEB: TaskImage = { id: 'web', names: [`reg.example/web@${DIGEST}`], size: 1, inUse: false };

function stage() {
  const clock = new VirtualClock();
  const images = [WEB];
  const tasks = new Map<TaskId, TaskItem>();
  const assignments: { revision: number | undefined; tasks: typeof tasks } = { revision: undefined, tasks };
  const collector = new ImageCollector({
    images: {
      ofTasks: async () => [...images],
      forget: async (image) => void images.splice(images.indexOf(image), 1),
    },
    assignments,
    policy: { keepMs: 600_000, high: 0.85, low: 0.8 },
    disk: async () => ({ total: 100, free: 50 }),
    clock,
    log: silentLog,
  });
  const want = (image: string, desiredState: TaskItem['desiredState'] = 'running') =>
    tasks.set(
      't' as TaskId,
      {
        spec: { ContainerSpec: { Image: image } },
        desiredState,
        status: { state: 'running' },
      } as TaskItem,
    );
  return { clock, images, assignments, tasks, want, collector };
}

test('an image goes when its time is over after its last task, to the moment; nothing before the first snapshot', async () => {
  const { clock, images, assignments, want, collector } = stage();
  collector.start();
  await clock.advance(3_600_000);
  assert.deepEqual(images, [WEB], 'what is needed is not known yet');
  want(`reg.example/web:1@${DIGEST}`);
  assignments.revision = 1;
  collector.mark();
  await clock.advance(3_600_000);
  assert.deepEqual(images, [WEB], 'a task needs it');
  want(`reg.example/web:1@${DIGEST}`, 'remove');
  collector.mark();
  await clock.advance(1_000 + 599_999);
  assert.deepEqual(images, [WEB]);
  await clock.advance(1_001);
  assert.deepEqual(images, []);
  await collector.stop();
});

test('a task that comes back in time starts the time anew', async () => {
  const { clock, images, assignments, tasks, want, collector } = stage();
  assignments.revision = 1;
  collector.start();
  collector.mark();
  await clock.advance(500_000);
  want(`reg.example/web@${DIGEST}`);
  collector.mark();
  await clock.advance(200_000);
  tasks.clear();
  collector.mark();
  await clock.advance(500_000);
  assert.deepEqual(images, [WEB]);
  await clock.advance(102_000);
  assert.deepEqual(images, []);
  await collector.stop();
});
