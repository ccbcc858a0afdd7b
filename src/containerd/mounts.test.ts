import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import type { MountSpec } from '../model/spec.ts';
import { planMounts, readyMounts } from './mounts.ts';
import { LocalVolumes } from './volumes.ts';

const ID = 'c1' as ContainerId;

/** Volumes below a folder of their own; what is mounted for one is only noted. */
function stage(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), 'skein-mounts-'));
  t.after(() => rmSync(root, { recursive: true }));
  const ran: string[] = [];
  const volumes = new LocalVolumes({
    root: join(root, 'volumes'),
    containers: async () => [],
    run: async (argv) => {
      ran.push(argv.join(' '));
      return { code: 0, stdout: '', stderr: '' };
    },
    tell: () => {},
    clock: systemClock,
    log: silentLog,
  });
  const ready = (spec: MountSpec, imageVolumes: string[] = []) =>
    readyMounts(
      ID,
      planMounts(ID, [spec], imageVolumes, (name) => volumes.path(name)),
      volumes,
    );
  return { root, volumes, ran, ready };
}

const BINDS: [string, Partial<MountSpec>, string[]][] = [
  ['as it is', {}, ['rbind', 'rprivate', 'rw']],
  ['to be read only', { ReadOnly: true }, ['rbind', 'rprivate', 'ro']],
  ['propagated', { BindOptions: { Propagation: 'rslave' } }, ['rbind', 'rslave', 'rw']],
  ['without what is mounted below', { BindOptions: { NonRecursive: true } }, ['bind', 'rprivate', 'rw']],
];
for (const [what, patch, options] of BINDS)
  test(`bind: ${what}`, async (t) => {
    const { root, ready } = stage(t);
    const { mounts } = await ready({ Type: 'bind', Source: root, Target: '/b', ...patch });
    assert.deepEqual(mounts, [{ destination: '/b', type: 'bind', source: root, options }]);
  });

test('bind: a source that is missing is refused, and made where that is asked for', async (t) => {
  const { root, ready } = stage(t);
  const Source = join(root, 'new/one');
  const bind: MountSpec = { Type: 'bind', Source, Target: '/b' };
  await assert.rejects(ready(bind), { message: /bind source path does not exist/ });
  assert.ok(!existsSync(Source));
  await ready({ ...bind, BindOptions: { CreateMountpoint: true } });
  assert.ok(existsSync(Source));
  const odd: MountSpec = { ...bind, BindOptions: { Propagation: 'sideways' } };
  assert.throws(() => planMounts(ID, [odd], [], () => ''), { message: /invalid propagation: sideways/ });
});

const TMPFS = ['noexec', 'nosuid', 'nodev', 'rprivate'];
const MEMORIES: [string, Partial<MountSpec>, string[]][] = [
  ['as it is', {}, [...TMPFS, 'rw']],
  ['of a size', { TmpfsOptions: { SizeBytes: 65_536 } }, [...TMPFS, 'rw', 'size=65536']],
  ['of a mode', { TmpfsOptions: { Mode: 0o750 } }, [...TMPFS, 'rw', 'mode=750']],
  ['to be read only', { ReadOnly: true }, [...TMPFS, 'ro']],
];
for (const [what, patch, options] of MEMORIES)
  test(`tmpfs: ${what}`, async (t) => {
    const { ready } = stage(t);
    const { mounts } = await ready({ Type: 'tmpfs', Target: '/t', ...patch });
    assert.deepEqual(mounts, [{ destination: '/t', type: 'tmpfs', source: 'tmpfs', options }]);
  });

test('volume: made with its labels, bound in, and filled from the image while it is empty', async (t) => {
  const { volumes, ready } = stage(t);
  const spec: MountSpec = {
    Type: 'volume',
    Source: 'data',
    Target: '/d',
    VolumeOptions: { Labels: { a: 'b' } },
  };
  const { mounts, fill } = await ready(spec);
  const source = volumes.path('data');
  assert.deepEqual(mounts, [
    { destination: '/d', type: 'bind', source, options: ['rbind', 'rprivate', 'rw'] },
  ]);
  assert.deepEqual(fill, [{ volume: source, target: '/d', asMounted: false }]);
  assert.deepEqual((await volumes.get('data'))?.labels, { a: 'b' });
  writeFileSync(join(source, 'f'), '');
  assert.deepEqual((await ready(spec)).fill, [], 'it holds something');
  const readOnly = await ready({ ...spec, ReadOnly: true });
  assert.equal(readOnly.mounts[0]!.options.at(-1), 'ro');
});

test('volume: nocopy takes nothing of the image', async (t) => {
  const { ready } = stage(t);
  const spec: MountSpec = { Type: 'volume', Source: 'data', Target: '/d', VolumeOptions: { NoCopy: true } };
  assert.deepEqual((await ready(spec)).fill, []);
});

test('volume: a driver that is not there makes none', async (t) => {
  const { volumes, ready } = stage(t);
  const VolumeOptions = { DriverConfig: { Name: 'nfs' } };
  await assert.rejects(ready({ Type: 'volume', Source: 'data', Target: '/d', VolumeOptions }), {
    code: 'unimplemented',
    message: 'volume driver "nfs" is not there: volumes are local to a node',
  });
  assert.deepEqual(await volumes.list(), []);
});

test('volume: options of the driver are what is mounted on it', async (t) => {
  const { volumes, ran, ready } = stage(t);
  const Options = { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' };
  await ready({
    ...{ Type: 'volume', Source: 'ram', Target: '/r' },
    VolumeOptions: { DriverConfig: { Name: 'local', Options } },
  });
  assert.deepEqual((await volumes.get('ram'))?.options, Options);
  assert.deepEqual(ran, [`mount -i -t tmpfs -o size=1m -- tmpfs ${volumes.path('ram')}`]);
});

test('volume: one that nobody named belongs to its container and target, as do those of the image', async (t) => {
  const { volumes, ready } = stage(t);
  const spec: MountSpec = { Type: 'volume', Target: '/anon' };
  const first = await ready(spec, ['/var/lib', '/anon']);
  assert.deepEqual(
    first.mounts.map((mount) => mount.destination),
    ['/anon', '/var/lib'],
  );
  assert.deepEqual((await ready(spec, ['/var/lib', '/anon'])).mounts, first.mounts, 'the same again');
  const all = await volumes.list();
  assert.equal(all.length, 2);
  for (const { labels } of all) assert.deepEqual(labels, { 'com.docker.volume.anonymous': '' });
});
