/** What an exec leaves, where its container ends at the same time. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { type Log, silentLog } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerdApi } from './api.ts';
import { Execs } from './execs.ts';

const CONFIG = {
  ...{ args: ['true'], env: [], cwd: '', user: '', tty: false, privileged: false },
  ...{ stdin: false, output: false },
};

/** Ends at once; each deletion of its record is answered by one of these. */
async function afterExec(...answers: readonly (SkeinError | undefined)[]) {
  const runRoot = mkdtempSync(join(tmpdir(), 'skein-execs-'));
  const clock = new VirtualClock();
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (message) => void said.push(message) };
  const left = [...answers];
  const tasks = {
    exec: async () => ({}),
    start: async () => ({ pid: 5 }),
    wait: async () => ({ exitStatus: 137 }),
    deleteProcess: async () => {
      const answer = left.shift();
      if (answer) throw answer;
      return {};
    },
  };
  const execs = new Execs({ api: { tasks } as unknown as ContainerdApi, runRoot, clock, log });
  try {
    const { exit } = await execs.start('a'.repeat(64) as ContainerId, CONFIG, {} as never);
    assert.equal(await exit, 137);
    for (let i = 0; i < 50 && left.length > 0; i++) await clock.advance(100);
    await clock.advance(0);
    const folders = () => readdirSync(join(runRoot, 'exec')).length;
    for (const end = Date.now() + 30_000; folders() > 0 && said.length === 0 && Date.now() < end; )
      await new Promise((resolve) => setTimeout(resolve, 5));
    return { folders: folders(), said };
  } finally {
    execs.close();
    rmSync(runRoot, { recursive: true });
  }
}

const closed = new SkeinError('internal', 'containerd: Tasks.DeleteProcess: ttrpc: closed: unknown');

test('an exec whose shim goes while it is cleared leaves nothing, and nothing is said of it', async () => {
  assert.deepEqual(await afterExec(closed, new SkeinError('not-found', 'no such process')), {
    folders: 0,
    said: [],
  });
});

test('what cannot be cleared, however often it is tried, is said once', async () => {
  const { said } = await afterExec(closed, closed, closed, closed, closed);
  assert.deepEqual(said, ['what an exec left could not be cleared']);
});

test('what is let go of while it is tried again stays for the next skeind', async () => {
  const runRoot = mkdtempSync(join(tmpdir(), 'skein-execs-'));
  const tried = Promise.withResolvers<void>();
  const tasks = {
    exec: async () => ({}),
    start: async () => ({ pid: 5 }),
    wait: async () => ({ exitStatus: 137 }),
    deleteProcess: async () => {
      tried.resolve();
      throw closed;
    },
  };
  const api = { tasks } as unknown as ContainerdApi;
  const execs = new Execs({ api, runRoot, clock: new VirtualClock(), log: silentLog });
  try {
    await execs.start('a'.repeat(64) as ContainerId, CONFIG, {} as never);
    await tried.promise;
    for (let turns = 0; turns < 10; turns++) await new Promise((resolve) => setImmediate(resolve));
    execs.close();
    for (let looks = 0; looks < 20; looks++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(readdirSync(join(runRoot, 'exec')).length, 1);
    }
  } finally {
    rmSync(runRoot, { recursive: true });
  }
});
