import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import { whenFree } from './when-free.ts';

const BUSY = [
  'dpkg --configure -a: exit 2: dpkg: error: dpkg frontend lock was locked by another process with pid 42',
  'apt-get update -qq: exit 100: E: Could not get lock /var/lib/apt/lists/lock. It is held by process 42 (apt-get)',
];

/** A program that ends with these words, one run each, and then well. */
function program(...words: string[]) {
  const clock = new VirtualClock();
  const began = clock.now();
  const runs: number[] = [];
  const said: string[] = [];
  let end: unknown = 'none';
  const run = async () => {
    runs.push(clock.now() - began);
    const message = words.shift();
    if (message !== undefined) throw new SkeinError('internal', message);
  };
  whenFree(run, clock, (text) => said.push(text)).then(
    () => (end = 'well'),
    (error: SkeinError) => (end = error.message),
  );
  return { clock, runs, said, end: () => end };
}

test('who finds the packages locked says so once, and is run again until they are free', async () => {
  const { clock, runs, said, end } = program(...BUSY);
  await clock.advance(1_999);
  assert.deepEqual([runs, end()], [[0, 1_000], 'none']);
  await clock.advance(1);
  assert.deepEqual([runs, end()], [[0, 1_000, 2_000], 'well']);
  assert.equal(said.length, 1);
  assert.match(said[0]!, /another program is at work on this host's packages/);
});

test('after two minutes the last words are told, which name who has the lock', async () => {
  const { clock, end } = program(...Array.from({ length: 1_000 }, () => BUSY[0]!));
  await clock.advance(119_999);
  assert.equal(end(), 'none');
  await clock.advance(1);
  assert.equal(end(), BUSY[0]);
});

test('any other failure is told at once', async () => {
  const { clock, runs, said, end } = program('apt-get update -qq: exit 100: E: no space left');
  await clock.advance(0);
  assert.deepEqual([runs, said, end()], [[0], [], 'apt-get update -qq: exit 100: E: no space left']);
});
