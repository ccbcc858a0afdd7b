import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { type HeapLook, HeapTrimmer } from './heap-trimmer.ts';

const MB = 1 << 20;
const LIVE = 40 * MB;

/** A heap that a collection brings down to what is alive. */
function scene() {
  const clock = new VirtualClock();
  const heap = { busy: 0, committed: LIVE + 60 * MB, used: LIVE + 20 * MB, collections: 0 };
  const collect = () => {
    heap.collections++;
    heap.committed = heap.used = LIVE;
  };
  const trimmer = new HeapTrimmer({ clock, look: (): HeapLook => heap, collect });
  trimmer.start();
  return { clock, heap, trimmer };
}

test('what a burst left is given back once, soon after the burst, and again after the next', async (t) => {
  const { clock, heap, trimmer } = scene();
  t.after(() => trimmer.stop());
  heap.busy = 0.9;
  await clock.advance(5_000);
  assert.equal(heap.collections, 0, 'while it is at work');
  heap.busy = 0.02;
  await clock.advance(2_000);
  assert.equal(heap.collections, 1);
  await clock.advance(60_000);
  assert.equal(heap.collections, 1, 'there is nothing to give back');
  heap.committed += 30 * MB;
  await clock.advance(1_000);
  assert.equal(heap.collections, 2);
});

test('an idle moment between two tasks is not the end of a deploy', async (t) => {
  const { clock, heap, trimmer } = scene();
  t.after(() => trimmer.stop());
  for (let i = 0; i < 20; i++) {
    heap.busy = i % 2 === 0 ? 0.6 : 0;
    await clock.advance(1_000);
  }
  assert.equal(heap.collections, 0);
});

test('a process that grows again at once, whose work that is and no burst, is held more and more seldom', async (t) => {
  const { clock, heap, trimmer } = scene();
  t.after(() => trimmer.stop());
  const growFor = async (seconds: number) => {
    for (let i = 0; i < seconds; i++) {
      heap.committed = LIVE + 60 * MB;
      await clock.advance(1_000);
    }
    return heap.collections;
  };
  assert.equal(await growFor(20), 2, 'at 2 s, and 10 s later');
  assert.equal(await growFor(100), 4, 'at 32 and 72 s');
  heap.committed = LIVE;
  await clock.advance(600_000);
  assert.equal(await growFor(1), 5, 'that was long ago');
  assert.equal(await growFor(20), 6);
});

test('a heap in which much is alive is left alone', async (t) => {
  const { clock, heap, trimmer } = scene();
  t.after(() => trimmer.stop());
  heap.used = 200 * MB;
  heap.committed = 300 * MB;
  await clock.advance(60_000);
  assert.equal(heap.collections, 0);
});
