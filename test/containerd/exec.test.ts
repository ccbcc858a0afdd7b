/** Processes in real containers: what the contract cannot ask of a fake. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import type { Containerd } from '../../src/containerd/containerd.ts';
import { collectOutput, type ExecConfig } from '../../src/containerd/process.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import { containerConfig, eventually, type Scratch, scratch, stream, testImage } from './scratch.ts';

let own: Scratch;
let runtime: Containerd;
let id: ContainerId;

before(async () => {
  own = await scratch();
  runtime = await own.open();
  await runtime.images.load(stream(await (await testImage()).archive('app:1')));
  const config = containerConfig(own.netns, { Env: ['OWN=1'], Dir: '/tmp' });
  id = config.id;
  await runtime.create(config);
  await runtime.start(id);
});
after(async () => {
  await runtime.close();
  await own.close();
});

const FLAGS = {
  ...{ args: ['/bin/sh', '-c', 'true'], env: [], cwd: '', user: '', tty: false, privileged: false },
  ...{ stdin: false, output: true },
};
const exec = (script: string, more: Partial<ExecConfig> = {}) =>
  runtime.exec(id, {
    ...FLAGS,
    args: ['/bin/sh', '-c', script],
    ...more,
  });
const run = async (script: string, more: Partial<ExecConfig> = {}) =>
  collectOutput(await exec(script, more), 100_000);
const pipes = () => readdir(join(own.root, 'run', 'exec'));

/** Counts, without keeping, what comes. */
async function count(from: Readable): Promise<number> {
  let size = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) size += chunk.length;
  return size;
}

test('environment, folder, user and capabilities: the container’s, or as asked', async () => {
  const plain = await run('echo $OWN $MORE $IMAGE; echo $(readlink /proc/self/cwd); id -u');
  assert.equal(plain.stdout, '1 1\n/tmp\n0\n', plain.stderr);
  const asked = await run('echo $OWN $MORE; stat -c %n .; id', {
    ...{ env: ['OWN=2', 'MORE=3'], cwd: '/data', user: 'web' },
  });
  assert.match(asked.stdout, /^2 3\n\.\nuid=101.*gid=102/, asked.stderr);
  const capabilities = async (privileged: boolean) =>
    /CapEff:\s*(\w+)/.exec((await run('cat /proc/self/status', { privileged })).stdout)![1]!;
  assert.ok(BigInt(`0x${await capabilities(true)}`) > BigInt(`0x${await capabilities(false)}`));
});

test('what cannot run says so in the words of runc', async () => {
  await assert.rejects(exec('', { args: ['nosuch'] }), {
    message: /^OCI runtime exec failed: exec failed: .*"nosuch": executable file not found in \$PATH/,
  });
  // Its own words are not those of runc for a container that has ended.
  await assert.rejects(exec('', { args: ['stopped container'] }), { message: /executable file not found/ });
  await assert.rejects(exec('true', { user: 'nobody-here' }), {
    message: 'unable to find user nobody-here: no matching entries in passwd file',
  });
  assert.deepEqual(await pipes(), [], 'nothing stays of what did not start');
});

test('20 MB in and out again, unharmed by a reader that pauses', async () => {
  const size = 20_000_000;
  const cat = await exec('cat', { stdin: true });
  const counted = (async () => {
    await new Promise((resolve) => setTimeout(resolve, 700)); // longer than an ended process is waited for
    return count(cat.stdout!);
  })();
  for (let left = size; left > 0; left -= 100_000)
    if (!cat.stdin!.write(Buffer.alloc(100_000, 'x'))) await once(cat.stdin!, 'drain');
  cat.stdin!.end();
  assert.equal(await counted, size);
  assert.equal(await cat.exit, 0);
});

test('a slow reader gets all that was printed, also after the process has ended', async () => {
  const lines = await exec('head -c 200000 /dev/zero');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal(await count(lines.stdout!), 200_000);
});

test('a terminal: its size, at the start and changed; one stream', async () => {
  const shell = await exec('stty size; read x; stty size', {
    ...{ tty: true, stdin: true, size: { width: 133, height: 44 } },
  });
  assert.equal(shell.stderr, undefined);
  let seen = '';
  shell.stdout!.on('data', (chunk: Buffer) => (seen += chunk.toString()));
  await eventually('the first size', async () => seen.includes('44 133'));
  await shell.resize({ width: 90, height: 20 });
  shell.stdin!.write('\n');
  await eventually('the second size', async () => seen.includes('20 90'));
  assert.equal(await shell.exit, 0);
});

test('a child left behind does not hold up the end', async () => {
  const { stdout, exitCode } = await run('sleep 30 & echo done; exit 4');
  assert.deepEqual([stdout, exitCode], ['done\n', 4]);
});

test('skeind goes: the process runs on, and the next skeind keeps its pipe from filling', async () => {
  const chatty = await exec(
    'trap "" PIPE; head -c 300000 /dev/zero; echo x > /tmp/printed; head -c 300000 /dev/zero; touch /tmp/through; sleep 60',
  );
  await once(chatty.stdout!, 'readable');
  chatty.stdout!.destroy();
  await runtime.close();
  runtime = await own.open();
  await eventually('the process got through', async () => {
    const { exitCode } = await run('ls /tmp/through');
    return exitCode === 0;
  });
  await eventually('only what still runs has pipes', async () => (await pipes()).length === 1);
});

test('who comes at the moment in which the container ends is told that it does not run', async () => {
  const config = { ...containerConfig(own.netns, {}), restartable: true };
  await runtime.create(config);
  const words = `container ${config.id} is not running`;
  for (let i = 0; i < 8; i++) {
    await runtime.start(config.id);
    const acts = [() => runtime.exec(config.id, FLAGS), () => runtime.pids(config.id)];
    const ended = runtime.kill(config.id, 'SIGKILL');
    const told = await Promise.allSettled(acts.map((act) => act()));
    await ended;
    for (const one of told) if (one.status === 'rejected') assert.equal((one.reason as Error).message, words);
    await eventually('it has ended', async () => (await runtime.get(config.id))?.status === 'stopped');
  }
  await runtime.remove(config.id);
});
