import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { FakeRuntime } from '../containerd/fake.ts';
import type { ContainerConfig } from '../containerd/runtime.ts';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import type { RunProcess } from '../kit/process.ts';
import { endingsOf, hostGoesDown } from './power-off.ts';

test('only a host that goes down takes its containers with it, not a restart of skeind', async () => {
  const saying =
    (stdout: string): RunProcess =>
    () =>
      Promise.resolve({ code: 1, stdout, stderr: '' });
  const silent: RunProcess = () => Promise.reject(new Error('exit 4'));
  assert.equal(await hostGoesDown(saying('stopping\n'), tmpdir()), true);
  for (const state of ['running\n', 'degraded\n', 'starting\n', ''])
    assert.equal(await hostGoesDown(saying(state), tmpdir()), false, state);
  assert.equal(await hostGoesDown(silent, tmpdir()), false);
  assert.equal(await hostGoesDown(saying('stopping\n'), '/nowhere'), false, 'systemd does not run here');
});

test('each that runs is asked as its spec says, or its image, and waited for no longer than the daemon of Docker would', async () => {
  const runtime = new FakeRuntime({ clock: new VirtualClock() });
  runtime.images.add('plain');
  runtime.images.add('web', { config: { StopSignal: 'SIGWINCH' } });
  const make = async (name: string, image: string, spec: object = {}) => {
    const config = { id: name, name, image, labels: {}, files: {}, restartable: false };
    await runtime.create({ ...config, spec: { Image: image, ...spec } } as unknown as ContainerConfig);
  };
  await make('plain', 'plain');
  await make('web', 'web', { StopGracePeriod: 2e9 });
  await make('own', 'web', { StopSignal: 'SIGQUIT', StopGracePeriod: 60e9 });
  await make('endless', 'plain', { StopSignal: 'SIGNONE', StopGracePeriod: -1e9 });
  await make('made', 'plain');
  const all = await runtime.list();
  for (const { id } of all.slice(0, 4)) await runtime.start(id);
  await runtime.pause(all[1]!.id);
  assert.deepEqual(await endingsOf(runtime, silentLog), [
    { id: 'plain', signal: 15, graceMs: 10_000 },
    { id: 'web', signal: 28, graceMs: 2_000 },
    { id: 'own', signal: 3, graceMs: 15_000 },
    { id: 'endless', signal: 15, graceMs: 15_000 },
  ]);
  assert.equal((await runtime.get(all[1]!.id))?.status, 'running', 'a paused one goes on, to hear of it');
  runtime.down();
  assert.deepEqual(await endingsOf(runtime, silentLog), [], 'who can not be asked for them holds nothing up');
});
