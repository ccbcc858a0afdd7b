import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import { runProcess } from './process.ts';

const node = (program: string): readonly string[] => [process.execPath, '-e', program];

test('what a program printed, and the exit codes that are an answer', async () => {
  const { code, stdout, stderr } = await runProcess(
    node('console.log(1); console.error(2); process.exit(3)'),
    {
      accept: [0, 3],
    },
  );
  assert.deepEqual([code, stdout, stderr], [3, '1\n', '2\n']);
});

test('another exit code is an error with what was asked and what was said', async () => {
  await assert.rejects(
    runProcess(['ls', '/no/such/folder'], { env: { PATH: process.env.PATH, LC_ALL: 'C' } }),
    {
      code: 'internal',
      message: /^ls \/no\/such\/folder: exit 2: ls: cannot access .*: No such file or directory$/,
    },
  );
});

test('a program that is not there, and one that somebody ends', async () => {
  await assert.rejects(runProcess(['/no/such/program']), {
    code: 'internal',
    message: /no\/such\/program: .*ENOENT/,
  });
  await assert.rejects(runProcess(node('process.kill(process.pid)')), { message: /: ended by SIGTERM$/ });
});

test('one that takes too long is ended, and that is what is said', async () => {
  await assert.rejects(runProcess(['sleep', '60'], { timeoutMs: 50 }), {
    code: 'deadline-exceeded',
    message: 'sleep 60: did not end within 0.05 s',
  });
});

test('one that is broken off says why, not how', async () => {
  for (const [reason, code, message] of [
    [new SkeinError('canceled', 'interrupted'), 'canceled', /^interrupted$/],
    [undefined, 'canceled', /^sleep 60: This operation was aborted$/],
  ] as const) {
    const abort = new AbortController();
    const running = runProcess(['sleep', '60'], { signal: abort.signal });
    abort.abort(reason);
    await assert.rejects(running, { code, message });
    await assert.rejects(runProcess(['sleep', '60'], { signal: abort.signal }), { code, message });
  }
});

test('input is given to it whole, and one that does not read it is no error', async () => {
  const input = 'x'.repeat(1_000_000);
  const { stdout } = await runProcess(['wc', '-c'], { input });
  assert.equal(stdout.trim(), '1000000');
  assert.equal((await runProcess(['true'], { input })).code, 0);
});
