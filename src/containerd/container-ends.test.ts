/** Ends of containers that nobody told of: found when the stream of events is open again, dealt with once each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLog } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import { ContainerEnds, type ContainerEndsOptions } from './container-ends.ts';
import type { ContainerEvent, ContainerInfo } from './runtime.ts';

const id = (name: string) => name as ContainerId;
const info = (name: string, status: ContainerInfo['status'], exitCode = 0) =>
  ({ id: id(name), status, exitCode, exitedAt: 'then' }) as ContainerInfo;

/** Of a process whose end was dealt with. */
const BEFORE = 7;

/** Ends what happens, and waits until all of it is done. */
async function after(containers: readonly ContainerInfo[], events: readonly ContainerEvent[]) {
  const done: string[] = [];
  const open = new Set(containers.map((container) => container.id));
  const note = (what: string) => async (of: ContainerId) => void done.push(`${what} ${of}`);
  const ends = new ContainerEnds({
    list: async () => containers,
    async *events() {
      yield* events;
    },
    files: {
      setExit: async (of: ContainerId, { exitCode, exitedAt }: { exitCode: number; exitedAt: string }) =>
        void done.push(`exit ${of} ${exitCode} ${exitedAt}`),
      setOomKilled: (of: ContainerId) => void done.push(`oom ${of}`),
    },
    tasks: { delete: note('delete'), isPast: (_: ContainerId, pid: number) => pid === BEFORE },
    output: {
      has: (of: ContainerId) => of !== id('going'),
      isOpen: async (of: ContainerId) => open.has(of),
      finish: async (of: ContainerId) => {
        open.delete(of);
        done.push(`output ${of}`);
      },
    },
    volumes: { release: note('release') },
    log: silentLog,
  } as unknown as ContainerEndsOptions);
  ends.watch();
  await ends.close();
  return done;
}

test('what ended while nobody listened is found by the look after it; what runs is left alone', async () => {
  const all = [info('runs', 'running'), info('ended', 'stopped', 3), info('rebooted', 'unknown')];
  assert.deepEqual((await after(all, [{ type: 'resync' }])).toSorted(), [
    'delete ended',
    'exit ended 3 then',
    'output ended',
    'output rebooted',
    'release ended',
  ]);
});

test('one that the event and the look both tell of is dealt with once', async () => {
  const exit: ContainerEvent = { type: 'exit', id: id('ended'), pid: 8, exitCode: 3, time: 'then' };
  const done = await after([info('ended', 'stopped', 3)], [exit, { type: 'resync' }, { type: 'resync' }]);
  assert.deepEqual(done, ['exit ended 3 then', 'delete ended', 'output ended', 'release ended']);
});

test('that its memory was used up is written down', async () => {
  assert.deepEqual(await after([info('starved', 'running')], [{ type: 'oom', id: id('starved') }]), [
    'oom starved',
  ]);
});

test('of one that is being removed nothing is written into the folder that goes', async () => {
  const exit: ContainerEvent = { type: 'exit', id: id('going'), pid: 8, exitCode: 137, time: 'then' };
  assert.deepEqual(await after([], [{ type: 'oom', id: id('going') }, exit]), []);
});

test('an end that is told of when the next process runs already is not taken for the end of that one', async () => {
  const exit: ContainerEvent = { type: 'exit', id: id('again'), pid: BEFORE, exitCode: 137, time: 'then' };
  assert.deepEqual(await after([info('again', 'running')], [exit]), []);
});
