import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ensureRunning, isRunning, stopDetached, writePidFile } from './detached.ts';

test('a detached process is started once, adopted afterwards, and stopped for good', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-detached-'));
  const spec = {
    name: 'sleeper',
    argv: ['sleep', `${1000 + process.pid}`],
    pidFile: join(dir, 'run', 'x.pid'),
    logFile: join(dir, 'x.log'),
  };
  try {
    const first = await ensureRunning(spec);
    assert.equal(first.started, true);
    assert.deepEqual(await ensureRunning(spec), { pid: first.pid, started: false });
    // A newer version would start it with other arguments: the one that runs is the one.
    const newer = { ...spec, argv: ['sleep', `${2000 + process.pid}`] };
    assert.deepEqual(await ensureRunning(newer), { pid: first.pid, started: false });
    truncateSync(spec.logFile, 33 * 1024 * 1024);
    await ensureRunning(spec);
    assert.equal(statSync(spec.logFile).size, 0, 'a log that has grown too large is emptied');
    // The starter died before it wrote the pid file: found by its arguments.
    rmSync(spec.pidFile);
    assert.deepEqual(await ensureRunning(spec), { pid: first.pid, started: false });
    await stopDetached(spec.pidFile);
    assert.equal(isRunning(spec.pidFile), undefined);
  } finally {
    await stopDetached(spec.pidFile);
    rmSync(dir, { recursive: true });
  }
});

test('the file of one that was started while another was being stopped stays', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-detached-'));
  const spec = (n: number) => ({
    name: 'sleeper',
    argv: ['sleep', `${n}000${process.pid}`],
    pidFile: join(dir, `${n}.pid`),
    logFile: join(dir, 'log'),
  });
  const [one, two] = [spec(1), spec(2)];
  try {
    await ensureRunning(one);
    const { pid } = await ensureRunning(two);
    // It goes on until it is killed: the other is there before its end is seen.
    const stopped = stopDetached(one.pidFile, { signal: 'SIGCONT', timeoutMs: 50 });
    writePidFile(one.pidFile, pid);
    await stopped;
    assert.equal(isRunning(one.pidFile), pid);
  } finally {
    await stopDetached(two.pidFile);
    rmSync(dir, { recursive: true });
  }
});

test('a pid that belongs to somebody else now is not taken for the process', () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-detached-'));
  const pidFile = join(dir, 'x.pid');
  writeFileSync(pidFile, `${process.pid} 1\n`);
  assert.equal(isRunning(pidFile), undefined);
  rmSync(dir, { recursive: true });
});

test('a program that is not there is an error that names it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-detached-'));
  await assert.rejects(
    ensureRunning({
      name: 'ghost',
      argv: ['/no/such/program'],
      pidFile: join(dir, 'p'),
      logFile: join(dir, 'l'),
    }),
    /cannot start ghost \(\/no\/such\/program\)/,
  );
  rmSync(dir, { recursive: true });
});
