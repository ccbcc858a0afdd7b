import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { suspend } from './signals.ts';

/** Four threads that never rest, and one that sleeps: the signal goes to the sleeper, which must be given a turn. */
const BUSY = `
  const { Worker } = require('node:worker_threads');
  for (let i = 0; i < 4; i++) new Worker('for (;;);', { eval: true }).on('online', () => console.log(i));
  setInterval(() => {}, 1000);
`;

test('what is suspended runs no more when it is said, however busy it was', async (t) => {
  const child = spawn(process.execPath, ['-e', BUSY], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  for (let online = ''; online.split('\n').length < 5; )
    online += String((await once(child.stdout, 'data'))[0]);
  const states = () =>
    readdirSync(`/proc/${child.pid}/task`).map(
      (tid) => /^State:\s+(\w)/m.exec(readFileSync(`/proc/${child.pid}/task/${tid}/status`, 'utf8'))![1],
    );
  for (let round = 0; round < 20; round++) {
    await suspend([child.pid!]);
    assert.deepEqual([...new Set(states())], ['T'], `round ${round}`);
    child.kill('SIGCONT');
  }
});

test('what has ended is passed over', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  await suspend([child.pid!]);
});
