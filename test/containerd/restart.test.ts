/** What survives whose death: skeind, containerd and the shim are killed, and nothing is lost that need not be. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ContainerdApi, SNAPSHOTTER } from '../../src/containerd/api.ts';
import type { Containerd } from '../../src/containerd/containerd.ts';
import { ContainerdProcess } from '../../src/containerd/daemon-process.ts';
import { endContainers, endingsOf } from '../../src/daemon/power-off.ts';
import { ALL_OUTPUT } from '../../src/containerd/runtime.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import { hang } from '../hang.ts';
import { containerConfig, eventually, type Scratch, scratch, stream, testImage } from './scratch.ts';

let own: Scratch;
let runtime: Containerd;

before(async () => {
  own = await scratch();
  runtime = await own.open();
  await runtime.images.load(stream(await (await testImage()).archive('app:1')));
});

after(async () => {
  await runtime.close();
  await own.close();
});

const shell = (script: string) => containerConfig(own.netns, { Command: ['/bin/sh', '-c', script] });

/** Another skeind's hold on this test's containerd. */
const containerd = (more: { readonly hungMs?: number } = {}) =>
  new ContainerdProcess({
    dataRoot: join(own.root, 'data'),
    runRoot: join(own.root, 'run'),
    clock: systemClock,
    log: silentLog,
    ...more,
  });

const bundleOf = (id: ContainerId): string =>
  join(own.root, 'run', 'containerd', 'state', 'io.containerd.runtime.v2.task', 'skein', id);
const socketOf = (address: string): string => address.replace(/^unix:\/\//, '');

async function output(id: ContainerId, begins?: () => void): Promise<string> {
  const query = { ...ALL_OUTPUT, follow: true };
  const chunks: Uint8Array[] = [];
  for await (const line of runtime.logs(id, query, AbortSignal.timeout(60_000))) {
    chunks.push(line.data);
    begins?.();
  }
  return Buffer.concat(chunks).toString();
}

async function firstLine(id: ContainerId): Promise<string | undefined> {
  for await (const line of runtime.logs(id, ALL_OUTPUT, AbortSignal.timeout(30_000)))
    return Buffer.from(line.data).toString();
  return undefined;
}

const counted = (n: number): string => Array.from({ length: n }, (_, i) => `${i + 1}\n`).join('');

function recordedBytes(id: ContainerId): number {
  const folder = join(own.root, 'data', 'containers', id);
  const records = readdirSync(folder).filter((name) => name.startsWith('records-'));
  return records.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

const shimOf = (pid: number): number =>
  Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);

test('the reader is killed again and again under full output: every line is there once', async () => {
  const config = shell('seq 400000');
  await runtime.create(config);
  await runtime.close();
  const starter = await own.open();
  const pid = await starter.start(config.id);
  await starter.close();
  const killedAt: number[] = [];
  for (let i = 0; i < 5; i++) {
    const child = spawn(
      process.execPath,
      [
        fileURLToPath(new URL('tail-child.ts', import.meta.url)),
        own.daemon.socket,
        join(own.root, 'data'),
        join(own.root, 'run'),
      ],
      { stdio: 'inherit' },
    );
    await eventually('records of it', async () => recordedBytes(config.id) >= 1_500_000 * (i + 1), 1);
    child.kill('SIGKILL');
    await once(child, 'exit');
    killedAt.push(recordedBytes(config.id));
  }
  assert.ok(
    killedAt.some((bytes) => bytes > 100 && bytes < 400000 * 21),
    `one of them died half-way: ${killedAt.join(' ')}`,
  );
  await eventually('the container has ended', async () => !existsSync(`/proc/${pid}`));
  runtime = await own.open();
  assert.equal(await output(config.id), counted(400000));
  const raw = statSync(join(own.root, 'data', 'containers', config.id, 'stdout'));
  assert.equal(raw.size, counted(400000).length);
  assert.ok(
    raw.blocks * 512 < 1024 * 1024,
    `space behind the tail is given back, ${raw.blocks * 512} bytes are held`,
  );
  await runtime.remove(config.id);
});

test('a log is as large as its container says, and its newest lines are whole', async () => {
  const logging = { Name: 'json-file', Options: { 'max-size': '100k', 'max-file': '3' } };
  const config = { ...shell('seq 100000'), logging };
  await runtime.create(config);
  await runtime.close(); // what is written now is read by the next
  const starter = await own.open();
  await starter.start(config.id);
  await starter.close();
  runtime = await own.open();
  await output(config.id); // to its end, over what is dropped meanwhile
  const lines = (await output(config.id)).trimEnd().split('\n');
  assert.equal(lines.at(-1), '100000');
  for (let i = 1; i < lines.length; i++) assert.equal(Number(lines[i]), Number(lines[i - 1]) + 1);
  const bytes = recordedBytes(config.id);
  assert.ok(bytes > 150_000 && bytes <= 300_000, `${bytes} bytes of records`);
  const raw = statSync(join(own.root, 'data', 'containers', config.id, 'stdout'));
  assert.ok(raw.blocks * 512 <= 100_000, `${raw.blocks * 512} bytes behind the tail`);
  await runtime.remove(config.id);
});

test('a container that ends while nobody is there: its output and exit code are found afterwards', async () => {
  const config = shell('echo before; sleep 0.3; echo after; exit 9');
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  await runtime.close();
  await eventually('the container has ended', async () => !existsSync(`/proc/${pid}`));
  runtime = await own.open();
  const info = await runtime.get(config.id);
  assert.deepEqual([info?.status, info?.exitCode], ['stopped', 9]);
  assert.equal(await output(config.id), 'before\nafter\n');
  await runtime.remove(config.id);
});

test('containerd is killed: containers run on, it is started again, events and exit codes arrive', async () => {
  const config = shell('seq 1000; sleep 1; seq 1000; exit 5');
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  await eventually('output', async () => (await firstLine(config.id)) === '1\n');
  const begun = Promise.withResolvers<void>();
  const following = output(config.id, begun.resolve);
  await begun.promise;
  const before = own.daemon.pid!;
  const signal = AbortSignal.timeout(60_000);
  let resyncs = 0;
  let exitCode: number | undefined;
  for await (const event of runtime.events(signal)) {
    if (event.type === 'resync' && resyncs++ === 0) process.kill(before, 'SIGKILL');
    if (event.type === 'exit' && event.id === config.id) exitCode = event.exitCode;
    if (resyncs === 1) continue;
    // After the second resync the agent lists: either the exit was seen, or the list says so.
    const info = await runtime.get(config.id).catch(() => undefined);
    if (info?.status === 'running') assert.equal(info.pid, pid, 'the same process');
    if (exitCode !== undefined || info?.status === 'stopped') {
      exitCode ??= info?.exitCode;
      break;
    }
  }
  assert.equal(exitCode, 5);
  assert.ok(resyncs >= 2, 'who follows is told to look again');
  assert.notEqual(own.daemon.pid, before);
  assert.equal(await following, counted(1000) + counted(1000));
  await runtime.remove(config.id);
});

test('containerd hangs: a skeind that comes to it restarts it, and containers run on', async (t) => {
  const config = shell('sleep 1000');
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  await own.daemon.close();
  const hung = own.daemon.pid!;
  await hang(t, hung);
  const next = containerd({ hungMs: 2000 });
  await next.start();
  assert.notEqual(next.pid, hung);
  await next.close();
  const info = await runtime.get(config.id);
  assert.deepEqual([info?.status, info?.pid], ['running', pid]);
  await runtime.remove(config.id);
});

test('a killed shim takes its container along, and that is seen', async () => {
  const config = shell('sleep 1000');
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  const address = readFileSync(join(bundleOf(config.id), 'address'), 'utf8');
  process.kill(shimOf(pid), 'SIGKILL');
  const info = await eventually('the end is seen', async () => {
    const now = await runtime.get(config.id);
    return now?.status !== 'running' && now;
  });
  assert.ok(['stopped', 'unknown'].includes(info.status));
  assert.notEqual(info.status === 'stopped' ? info.exitCode : 1, 0);
  await runtime.remove(config.id);
  assert.equal(await runtime.get(config.id), undefined);
  rmSync(socketOf(address), { force: true }); // containerd forgets the socket of a shim that was killed
});

test('after a reboot a container is known and does not run; it is removed and made again', async () => {
  const config = shell('sleep 1000');
  await runtime.create(config);
  const pid = await runtime.start(config.id);
  const shim = shimOf(pid);
  await runtime.close();
  await own.daemon.stop();
  for (const process_ of [shim, pid]) process.kill(process_, 'SIGKILL');
  await eventually('all is gone', async () => !existsSync(`/proc/${pid}`) && !existsSync(`/proc/${shim}`));
  const state = bundleOf(config.id);
  await runProcess(['umount', join(state, 'rootfs')]);
  rmSync(socketOf(readFileSync(join(state, 'address'), 'utf8')));
  rmSync(join(own.root, 'run'), { recursive: true, force: true });
  const daemon = containerd();
  await daemon.start();
  await daemon.close();
  runtime = await own.open();
  const info = await runtime.get(config.id);
  assert.equal(info?.status, 'unknown');
  assert.equal(info.pid, 0);
  await runtime.remove(config.id);
  await runtime.create(config);
  assert.ok((await runtime.start(config.id)) > 0);
  await runtime.remove(config.id);
});

test('an image that is removed and collected takes nothing from its containers; leftovers of a kill are cleared', async () => {
  await runtime.images.load(stream(await (await testImage('gone')).archive('gone:1')));
  const config = containerConfig(own.netns, { Command: ['/bin/cat', '/data/seed'] }, { image: 'gone:1' });
  await runtime.create(config);
  const { deleted } = await runtime.images.remove('gone:1', { force: true });
  assert.ok(deleted.length > 0);
  await runtime.start(config.id);
  assert.equal(await output(config.id), 'seed gone');
  await runtime.remove(config.id);
  assert.deepEqual(readdirSync(join(own.root, 'data', 'containers')), []);
  assert.deepEqual(readdirSync(join(own.root, 'data', 'volumes')), []);
});

test('what a removal that was cut short left of a root is no part of the next container of that id', async () => {
  const config = shell('echo made anew');
  const api = new ContainerdApi(own.daemon.socket);
  await api.snapshots.prepare({ snapshotter: SNAPSHOTTER, key: config.id, parent: '' });
  api.close();
  await runtime.create(config);
  await runtime.start(config.id);
  assert.equal(await output(config.id), 'made anew\n');
  await runtime.remove(config.id);
});

test('when the host goes down, what ends when it is asked ends so, the rest is killed after its grace', async () => {
  const willing = shell('trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done');
  const deaf = containerConfig(own.netns, {
    Command: ['/bin/sh', '-c', 'trap : TERM QUIT; echo up; while :; do sleep 0.05; done'],
    StopSignal: 'SIGQUIT',
    StopGracePeriod: 500e6,
  });
  for (const config of [willing, deaf]) {
    await runtime.create(config);
    await runtime.start(config.id);
    await eventually('the trap is set', () => firstLine(config.id));
  }
  const endings = await endingsOf(runtime, silentLog);
  const asked = (id: ContainerId) => endings.find((ending) => ending.id === id);
  assert.deepEqual(asked(willing.id), { id: willing.id, signal: 15, graceMs: 10_000 });
  assert.deepEqual(asked(deaf.id), { id: deaf.id, signal: 3, graceMs: 500 });
  await runtime.close();
  await endContainers(own.daemon.socket, endings);
  runtime = await own.open();
  const ended = async ({ id }: { id: ContainerId }) => {
    const info = (await runtime.get(id))!;
    return [info.status, info.exitCode];
  };
  assert.deepEqual(
    [await ended(willing), await ended(deaf)],
    [
      ['stopped', 3],
      ['stopped', 137],
    ],
  );
  assert.equal(await output(willing.id), 'up\nbye\n');
  for (const { id } of [willing, deaf]) await runtime.remove(id);
});
