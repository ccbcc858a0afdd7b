/** What is on disk and what goes from it: sizes of containers, `system df`, prune of containers, networks and volumes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import { type Json, serverUnderTest } from './server-under-test.ts';

describe('disk', () => {
  let it: Awaited<ReturnType<typeof serverUnderTest>>;
  const ids: string[] = [];
  const get = async (path: string): Promise<Json> => (await it.call('GET', path)).json;
  const told = () =>
    it.backends.events.past
      .filter(({ action }) => action === 'prune')
      .map(({ type, attributes }) => `${type} ${attributes['reclaimed']}`);
  const prune = async (kind: string, filters: object = {}): Promise<Json> =>
    (await it.call('POST', `/${kind}/prune?filters=${encodeURIComponent(JSON.stringify(filters))}`)).json;

  before(async () => {
    it = await serverUnderTest('manager');
    const { images } = it.backends.runtime;
    images.add('base:1', { layers: ['a'], layerSizes: [100], size: 100 });
    images.add('app:1', { layers: ['a', 'b'], layerSizes: [100, 20], size: 120 });
    images.add('else:1', { layers: ['b'], layerSizes: [20], size: 20 });
    for (const [name, Labels, Binds] of [
      ['runs', {}, ['used:/v']],
      ['ended', { keep: 'no' }, []],
      ['made', {}, []],
    ] as const) {
      const body = { Image: 'app:1', Labels, HostConfig: { Binds } };
      const { json } = await it.call('POST', `/containers/create?name=${name}`, body);
      ids.push(json.Id);
      it.backends.runtime.writes.set(json.Id, 7);
      if (name !== 'made') await it.call('POST', `/containers/${name}/start`);
    }
    it.backends.runtime.exit(ids[1] as ContainerId, 0);
    await it.call('POST', '/volumes/create', { Name: 'spare', Labels: { l: '1' } });
    it.backends.runtime.volumes.sizes.set('used', 3000).set('spare', 500);
    await it.clock.advance(3_600_000);
  });
  after(() => it.server.close());

  test('ps -s and inspect -s, and nothing is measured where nobody asks', async () => {
    const [line] = await get('/containers/json?size=1');
    assert.deepEqual([line.SizeRw, line.SizeRootFs], [7, 127]);
    const inspected = await get('/containers/runs/json?size=1');
    assert.deepEqual([inspected.SizeRw, inspected.SizeRootFs], [7, 127]);
    it.backends.engine.written = () => assert.fail('measured');
    assert.equal('SizeRw' in (await get('/containers/json'))[0], false);
    assert.equal('SizeRw' in (await get('/containers/runs/json')), false);
    it.backends.engine.written = (id) => it.backends.runtime.written(id);
  });

  test('df: a layer that several images have counts once, and as shared with each', async () => {
    const { LayersSize, Images, Containers, Volumes, BuildCache } = await get('/system/df');
    assert.equal(LayersSize, 140, 'b on a and b alone are two layers');
    assert.deepEqual(Images.map((i: Json) => [i.RepoTags[0], i.Size, i.SharedSize, i.Containers]).sort(), [
      ['app:1', 120, 100, 3],
      ['base:1', 100, 100, 0],
      ['else:1', 20, 0, 0],
    ]);
    assert.deepEqual(
      Containers.map((c: Json) => [c.SizeRw, c.SizeRootFs]),
      Array(3).fill([7, 127]),
    );
    assert.deepEqual(
      Volumes.map((v: Json) => [v.Name, v.UsageData]),
      [
        ['spare', { RefCount: 0, Size: 500 }],
        ['used', { RefCount: 1, Size: 3000 }],
      ],
    );
    assert.deepEqual(BuildCache, []);
  });

  test('df of some kinds alone', async () => {
    const some = await get('/system/df?type=volume&type=build-cache');
    assert.deepEqual([some.Images, some.Containers, some.Volumes.length], [null, null, 2]);
    const unknown = await it.call('GET', '/system/df?type=wine');
    assert.deepEqual([unknown.status, unknown.json.message], [400, 'unknown object type: wine']);
  });

  test('container prune: what does not run, by label and age, with the bytes it wrote', async () => {
    const none = { ContainersDeleted: null, SpaceReclaimed: 0 };
    assert.deepEqual(await prune('containers', { until: ['2h'] }), none);
    const one = await prune('containers', { until: ['30m'], label: ['keep=no'] });
    assert.deepEqual(one, { ContainersDeleted: [ids[1]], SpaceReclaimed: 7 });
    const other = await prune('containers', { 'label!': { 'keep=no': true } });
    assert.deepEqual(other, { ContainersDeleted: [ids[2]], SpaceReclaimed: 7 });
    assert.deepEqual(told(), ['container 0', 'container 7', 'container 7']);
    assert.equal((await prune('containers', { label: [1] })).message.startsWith('invalid filter'), true);
    assert.equal((await prune('containers', { dangling: ['1'] })).message, "invalid filter 'dangling'");
  });

  test('volume prune: what nobody uses, of those without a name unless all are asked for', async () => {
    assert.deepEqual(await prune('volumes'), { VolumesDeleted: null, SpaceReclaimed: 0 });
    const all = await prune('volumes', { all: ['1'], label: ['l=1'] });
    assert.deepEqual(all, { VolumesDeleted: ['spare'], SpaceReclaimed: 500 });
    assert.deepEqual(told().slice(3), ['volume 0', 'volume 500']);
  });

  test('network prune: on a manager, what nothing uses; the ingress network stays', async () => {
    const { backends, call } = it;
    for (const [Name, Labels] of [
      ['free', {}],
      ['taken', {}],
      ['kept', { keep: 'yes' }],
    ] as const)
      await call('POST', '/networks/create', { Name, Driver: 'overlay', Labels });
    const remove = backends.control.removeNetwork.bind(backends.control);
    backends.control.removeNetwork = async (id) => {
      if (backends.control.network(id).spec.Name !== 'taken') return remove(id);
      throw new SkeinError('failed-precondition', `network ${id} is in use by service web`);
    };
    const answer = await prune('networks', { 'label!': ['keep=yes'] });
    assert.deepEqual(answer, { NetworksDeleted: ['free'] });
    const left = (await get('/networks')).map(({ Name }: Json) => Name);
    assert.deepEqual(left, ['ingress', 'kept', 'taken']);
    assert.equal(told().at(-1), 'network 0');
    backends.membership = 'worker';
    assert.deepEqual(await prune('networks'), { NetworksDeleted: null });
  });
});
