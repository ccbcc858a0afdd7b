import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { replaceFolder } from './replace-folder.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-replace-'));
after(() => rmSync(folder, { recursive: true }));
const [to, from] = [join(folder, 'program'), join(folder, 'program.new')];

function make(version: number): void {
  mkdirSync(from);
  writeFileSync(join(from, 'version'), `${version}`);
}
const version = () => readFileSync(join(to, 'version'), 'utf8');

/** Looks without a pause, from another thread, and counts how often there was no program. */
const WATCH = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { existsSync } = require('node:fs');
  const flag = new Int32Array(workerData.flag);
  parentPort.postMessage('looking');
  let [looks, missing] = [0, 0];
  for (; Atomics.load(flag, 0) === 0; looks++) if (!existsSync(workerData.path)) missing++;
  parentPort.postMessage({ looks, missing });
`;

test('the first one is put there, the next ones in its place, and nothing is left beside', () => {
  for (const n of [1, 2, 3]) {
    make(n);
    replaceFolder(from, to);
    assert.equal(version(), `${n}`);
    assert.ok(!existsSync(from));
  }
});

test('where the file system refuses the exchange the old one stays, and the words say what to do', () => {
  make(1);
  replaceFolder(from, to);
  const within = join(to, 'within'); // which no file system exchanges with what it lies in
  mkdirSync(within);
  assert.throws(() => replaceFolder(within, to), /program can not be replaced .* EINVAL.*: remove it, then/);
  assert.equal(version(), '1');
  rmSync(within, { recursive: true });
});

test('there is no moment without one', async () => {
  const flag = new SharedArrayBuffer(4);
  const worker = new Worker(WATCH, { eval: true, workerData: { path: join(to, 'version'), flag } });
  const said = () => new Promise<unknown>((resolve) => worker.once('message', resolve));
  await said();
  for (let n = 0; n < 100; n++) {
    make(n);
    replaceFolder(from, to);
  }
  const end = said();
  Atomics.store(new Int32Array(flag), 0, 1);
  const { looks, missing } = (await end) as { looks: number; missing: number };
  assert.ok(looks > 0);
  assert.equal(missing, 0);
});
