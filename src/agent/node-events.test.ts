import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { FakeRuntime } from '../containerd/fake.ts';
import { VirtualClock } from '../kit/clock.ts';
import { EventLog } from '../kit/event-log.ts';
import { silentLog } from '../kit/log.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import { NETWORKS_CHANGED, NodeEvents } from './node-events.ts';

const config = (id: ContainerId) => ({
  ...{ id, name: 'web', image: 'app:1', spec: { Image: 'app:1' }, limits: undefined },
  ...{ hostname: 'h', netnsPath: '/n', files: {}, labels: { l: '1' } },
});

test('the life of a container, with its networks; what was there before is known by its name', async (t) => {
  const clock = new VirtualClock();
  const runtime = new FakeRuntime({ clock });
  runtime.images.add('app:1');
  const [before, id] = ['a'.repeat(64), 'b'.repeat(64)] as [ContainerId, ContainerId];
  await runtime.create({ ...config(before), name: 'old' });
  const log = new EventLog(clock);
  const named = (name: string) => ({ networkId: `id of ${name}` as NetworkId, name });
  let on = ['mynet'];
  const networks = async () => on.map(named);
  const events = new NodeEvents({ runtime, networks, tell: log.tell, clock, log: silentLog });
  events.run();
  t.after(() => events.stop());
  const settled = async () => {
    for (let i = 0; i < 20; i++) await setImmediate();
  };
  await settled();
  await runtime.create(config(id));
  await runtime.start(id);
  await runtime.pause(id);
  await settled();
  on = ['mynet', 'other'];
  runtime.announce(id, NETWORKS_CHANGED);
  await settled();
  on = ['other'];
  runtime.announce(id, NETWORKS_CHANGED);
  await settled();
  runtime.announce(id, 'rename', { oldName: '/was' });
  await settled();
  await runtime.resume(id);
  await clock.advance(7000);
  await runtime.kill(id, 'SIGTERM');
  await settled();
  await runtime.remove(id);
  await runtime.remove(before);
  await settled();
  const seen = log.past.map(({ type, action }) => `${type} ${action}`);
  const container = ['create', 'start', 'pause', 'rename', 'unpause', 'kill', 'die', 'destroy'];
  assert.deepEqual(
    seen.filter((line) => line.startsWith('container')).slice(0, 8),
    container.map((action) => `container ${action}`),
  );
  assert.equal(seen[seen.indexOf('container start') - 1], 'network connect');
  assert.equal(seen[seen.indexOf('container die') + 1], 'network disconnect');
  assert.deepEqual(
    log.past
      .filter(({ type, attributes }) => type === 'network' && attributes['container'] === id)
      .map((e) => `${e.action} ${e.attributes['name']}`),
    ['connect mynet', 'connect other', 'disconnect mynet', 'disconnect other'],
  );
  // A network is on the node from its first container's coming to its last one's going.
  assert.deepEqual(
    log.past.filter(({ type, id: of }) => type === 'network' && of === 'id of other').map((e) => e.action),
    ['create', 'connect', 'disconnect', 'destroy'],
  );
  assert.deepEqual(log.past.find(({ action }) => action === 'destroy')!.attributes, {
    name: 'other',
    type: 'overlay',
  });
  const { attributes } = log.past.find(({ action }) => action === 'die')!;
  assert.deepEqual(attributes, { l: '1', image: 'app:1', name: 'web', exitCode: '143', execDuration: '7' });
  assert.equal(log.past.find(({ action }) => action === 'rename')!.attributes['oldName'], '/was');
  assert.equal(log.past.find(({ action }) => action === 'kill')!.attributes['signal'], '15');
  assert.deepEqual(log.past.at(-1)!.attributes['name'], 'old');
});
