/** Health checks of a user's own containers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HealthSpec } from '../model/spec.ts';
import { IMAGE } from './fake-node.ts';
import type { Standalone } from './standalone.ts';
import { host, spec } from './standalone-under-test.ts';

test('health: probed from the start of a run, each run anew, over a restart of skeind', async (t) => {
  const { control, standalone, runtime, until, info, open, said } = await host(t);
  const Healthcheck = { Test: ['CMD', 'probe'], Interval: 1e9, Retries: 2 };
  const id = await control.create(spec({ container: { Image: IMAGE, Healthcheck } }));
  let code = 0;
  runtime.execProgram = ({ exit }) => exit(code);
  const status = async (of: Standalone) => (await of.health(id))?.status;
  const becomes = (word: string, of = standalone) =>
    until(`it is ${word}`, async () => (await status(of)) === word);
  await control.start(await info(id));
  await becomes('healthy');
  code = 1;
  await becomes('unhealthy');
  assert.equal((await info(id)).status, 'running', 'nothing else happens to it');
  // It is on disk before anybody hears of it.
  await until('it is told', async () => said.includes('health_status: unhealthy'));
  const told = said.filter((action) => action.startsWith('health'));
  assert.deepEqual(told, ['health_status: healthy', 'health_status: unhealthy']);
  for (const action of ['exec_create: probe ', 'exec_start: probe ', 'exec_die'])
    assert.ok(said.includes(action));
  await control.stop(await info(id), {});
  await control.start(await info(id));
  assert.equal(await status(standalone), undefined, 'nothing is known yet of this run');
  code = 0;
  await becomes('healthy');
  await standalone.stop();
  const later = (await open()).standalone;
  assert.equal(await status(later), 'healthy');
  code = 1;
  await becomes('unhealthy', later);
});

test('health: what a probe still brings of a container that is being removed is not written into its folder', async (t) => {
  const { control, standalone, runtime, until, said, clock, info } = await host(t);
  const Healthcheck = { Test: ['CMD', 'probe'], Interval: 1e9 };
  const id = await control.create(spec({ container: { Image: IMAGE, Healthcheck } }));
  const probes: ((code: number) => void)[] = [];
  runtime.execProgram = ({ exit }) => void probes.push(exit);
  await control.start(await info(id));
  await until('it is probed', async () => probes.length === 1);
  runtime.delays.remove = 10_000;
  const removed = standalone.remove(id, { force: true, keepVolumes: false });
  await until('its removal has begun', async () => runtime.calls.includes(`remove ${id}`));
  probes[0]!(137);
  await until('the probe has ended', async () => said.includes('exec_die'));
  await until('there was time to write', async () => clock.now() > 1_000);
  assert.equal(await standalone.health(id), undefined);
  await clock.advance(10_000);
  await removed;
  assert.equal(standalone.owns(id), false);
});

test('the health check of the image is that of a container which has none of its own', async (t) => {
  const { control, runtime, info } = await host(t);
  const image = { Test: ['CMD', 'probe'], Interval: 5e9 };
  runtime.images.add('checked:1', { config: { Healthcheck: image } });
  const made = async (name: string, Healthcheck?: HealthSpec) => {
    const container = { Image: 'checked:1', ...(Healthcheck && { Healthcheck }) };
    return (await info(await control.create(spec({ name, container })))).config.spec.Healthcheck;
  };
  assert.deepEqual(await made('one'), image);
  assert.deepEqual(await made('two', { Retries: 7 }), { ...image, Retries: 7 });
  assert.deepEqual(await made('three', { Test: ['NONE'] }), { ...image, Test: ['NONE'] });
});
