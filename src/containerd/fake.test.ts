import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { systemClock, VirtualClock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { FakeRuntime } from './fake.ts';
import { ECHOES, runtimeContract, TALKS } from './runtime.contract.ts';

const newId = (): ContainerId => randomBytes(32).toString('hex') as ContainerId;

runtimeContract('FakeRuntime', async () => {
  const runtime = new FakeRuntime({ clock: systemClock });
  runtime.images.add('app:1');
  runtime.program = ({ config, print, exit, stdin }) => {
    if (config.spec.Command === ECHOES) {
      stdin.on('data', (chunk: Buffer) => print('stdout', chunk.toString()));
      stdin.on('end', () => exit(3));
    }
    if (config.spec.Command !== TALKS) return;
    print('stdout', 'out 1\nout 2\n');
    print('stderr', 'err 1\n');
    print('stdout', 'out 3\n');
    exit(7);
  };
  runtime.execProgram = ({ config, stdin, print, exit }) => {
    if (config.args !== ECHOES) return;
    stdin.on('data', (chunk: Buffer) => void print('stdout', chunk));
    stdin.on('end', () => {
      void print('stderr', 'err\n');
      exit(3);
    });
    stdin.resume();
  };
  return { runtime, image: 'app:1', netnsPath: '/run/n', newId, close: async () => {} };
});

test('failures, delays and a reboot are as scripted', async () => {
  const clock = new VirtualClock();
  const runtime = new FakeRuntime({ clock });
  runtime.images.offer('app:1');
  runtime.fail('pull', new SkeinError('unavailable', 'try later'));
  await assert.rejects(runtime.images.pull('app:1'), { code: 'unavailable' });
  runtime.delays.pull = 5000;
  let pulled = false;
  const pull = runtime.images.pull('app:1').then(() => (pulled = true));
  await clock.advance(4999);
  assert.ok(!pulled);
  await clock.advance(1);
  assert.ok(await pull);
  const id = newId();
  const config = {
    ...{ id, name: 'n', image: 'app:1', spec: { Image: 'app:1' }, limits: undefined },
    ...{ hostname: 'h', netnsPath: '/n', files: {}, labels: {} },
  };
  await runtime.create(config);
  await runtime.start(id);
  runtime.reboot();
  assert.equal((await runtime.get(id))?.status, 'unknown');
});
