/** Files in and out of real containers: running, stopped, and such as would like to lead us elsewhere. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, test } from 'node:test';
import { extract, pack } from 'tar-stream';
import { collectOutput } from '../../src/containerd/process.ts';
import type { Containerd } from '../../src/containerd/containerd.ts';
import type { ContainerConfig } from '../../src/containerd/runtime.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import { collect, containerConfig, eventually, type Scratch, scratch, stream, testImage } from './scratch.ts';

let own: Scratch;
let runtime: Containerd;

before(async () => {
  own = await scratch();
  runtime = await own.open();
  await runtime.images.load(stream(await (await testImage()).layout('app:1')));
});

after(async () => {
  await runtime.close();
  await own.close();
});

async function made(script: string, more: Partial<ContainerConfig> = {}): Promise<ContainerId> {
  const command = {
    Command: ['/bin/sh', '-c', `${script}; echo ready > /ready; sleep 1000`],
    Mounts: more.spec?.Mounts ?? [],
  };
  const config = containerConfig(own.netns, command, { ...more, spec: { Image: 'app:1', ...command } });
  await runtime.create(config);
  await runtime.start(config.id);
  await eventually('its script has run', async () => (await run(config.id, 'cat /ready')) === 'ready\n');
  return config.id;
}

async function run(id: ContainerId, script: string): Promise<string> {
  const args = ['/bin/sh', '-c', script];
  const flags = { env: [], cwd: '', user: '', tty: false, privileged: false, stdin: false, output: true };
  const { stdout, stderr } = await collectOutput(await runtime.exec(id, { args, ...flags }), 10_000);
  return stdout + stderr;
}

type Entry = readonly [name: string, content: string, more?: { type: 'symlink'; linkname: string }];

function tarOf(...entries: readonly Entry[]): AsyncIterable<Uint8Array> {
  const archive = pack();
  for (const [name, content, more] of entries)
    archive.entry({ name, mode: 0o640, uid: 7, gid: 8, mtime: new Date(5000), ...more }, content);
  archive.finalize();
  return archive as unknown as AsyncIterable<Uint8Array>;
}

/** Names in the archive, with what is in the files. */
async function contents(tar: AsyncIterable<Uint8Array>): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const entry of Readable.from(tar, { objectMode: false }).pipe(extract())) {
    const bytes = await collect(entry as unknown as AsyncIterable<Uint8Array>);
    found[entry.header.name] = entry.header.linkname ? `-> ${entry.header.linkname}` : bytes.toString();
  }
  return found;
}

const into = { asUser: false };

test('in and out of a running container, volumes and long names too', async () => {
  const { archives } = runtime;
  const id = await made('mkdir /d; echo one > /d/f; echo two > /data/v');
  const long = `d/${'n'.repeat(150)}`;
  await archives.write(id, '/tmp', tarOf(['in', 'came in'], ['deep/er/f', 'deep']), into);
  assert.equal(
    await run(id, 'cat /tmp/in /tmp/deep/er/f; stat -c " %a %u %g %Y" /tmp/in'),
    'came indeep 640 7 8 5\n',
  );
  await run(id, `cat /d/f > /${long}`);
  const folder = await archives.read(id, '/d');
  assert.deepEqual(await contents(folder.tar), { 'd/': '', 'd/f': 'one\n', [long]: 'one\n' });
  assert.deepEqual(await contents((await archives.read(id, '/data/v')).tar), { v: 'two\n' });
  assert.deepEqual(Object.keys(await contents((await archives.read(id, '/d/.')).tar)).slice(0, 2), [
    './',
    './f',
  ]);
  const { name, size, mode } = await archives.stat(id, '/d/f');
  assert.deepEqual([name, size, mode], ['f', 4, 0o100644]);
  const missing = { code: 'not-found', message: 'Could not find the file /no in container web.1' } as const;
  await assert.rejects(archives.stat(id, '/no'), missing);
  await assert.rejects(archives.read(id, '/no'), missing);
  await assert.rejects(archives.write(id, '/d/f', tarOf(['x', '']), into), {
    message: /is not a directory|Could not find the file/,
  });
  await assert.rejects(archives.write(id, '/', tarOf(['d', 'no folder']), into), {
    message: 'cannot overwrite directory "d" with non-directory',
  });
  const bad = archives.write(id, '/', stream(Buffer.from('no archive '.repeat(100))), into);
  await assert.rejects(bad, { code: 'invalid-argument' });
  await runtime.remove(id);
});

test('a link leads nowhere but inside, be it the container’s or the archive’s', async () => {
  const { archives } = runtime;
  const outside = join(own.root, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'secret'), 'the node’s');
  const id = await made(
    `ln -s / /abs; ln -s ../../../../../.. /up; ln -s ${outside} /away; ln -s /abs/etc /far`,
  );
  for (const path of ['/abs/etc/passwd', '/up/etc/passwd', '/far/passwd']) {
    const { passwd } = await contents((await archives.read(id, path)).tar);
    assert.match(passwd!, /^root:x:0:0::\/root:\/bin\/sh\nweb:/, path);
  }
  await assert.rejects(archives.read(id, `/away/secret`), { code: 'not-found' });
  const { linkTarget } = await archives.stat(id, '/far');
  assert.equal(linkTarget, '/abs/etc');
  assert.deepEqual(await contents((await archives.read(id, '/away')).tar), { away: `-> ${outside}` });
  await archives.write(id, '/up/tmp', tarOf(['marker', 'inside']), into);
  assert.equal(await run(id, 'cat /tmp/marker'), 'inside');
  assert.ok(!existsSync('/tmp/marker'));
  const symlink = { type: 'symlink', linkname: outside } as const;
  for (const entries of [
    [
      ['l', '', symlink],
      ['l/planted', 'x'],
    ],
    [['../../../../../../../../../../../../away/planted', 'x']],
    [['away/planted', 'x']],
  ] as readonly (readonly Entry[])[])
    await archives.write(id, '/', tarOf(...entries), into).catch(() => undefined);
  assert.deepEqual(readdirSync(outside), ['secret']);
  await runtime.remove(id);
});

test('of a stopped container: its files and volumes, unmounted again; export and changes', async () => {
  const { archives } = runtime;
  const id = await made('echo mine > /etc/mine; echo more >> /etc/group; touch /tmp/x', {
    restartable: true,
  });
  await runtime.kill(id, 'SIGKILL');
  await eventually('it has ended', async () => (await runtime.get(id))!.status === 'stopped');
  assert.deepEqual(await contents((await archives.read(id, '/etc/mine')).tar), { mine: 'mine\n' });
  await archives.write(id, '/data', tarOf(['seeded', 'from outside']), into);
  const volume = (await runtime.get(id))!.mounts.find(({ target }) => target === '/data')!;
  assert.equal(readFileSync(join(volume.source, 'seeded'), 'utf8'), 'from outside');
  assert.deepEqual(await archives.changes(id), [
    { path: '/etc', kind: 'modified' },
    { path: '/etc/group', kind: 'modified' },
    { path: '/etc/mine', kind: 'added' },
    { path: '/ready', kind: 'added' },
    { path: '/tmp', kind: 'modified' },
    { path: '/tmp/x', kind: 'added' },
  ]);
  const whole = await contents(await archives.export(id));
  assert.equal(whole['./etc/mine'], 'mine\n');
  assert.equal(whole['./bin/sh'], '-> busybox');
  assert.equal(whole['./data/seeded'], undefined, 'volumes are not exported');
  assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), new RegExp(`${own.root}/run/roots`));
  await runtime.start(id);
  assert.equal(await run(id, 'cat /data/seeded'), 'from outside');
  await runtime.remove(id);
});

test('of several who look into a container that does not run one has it mounted at a time, and a start waits', async () => {
  const config = { ...containerConfig(own.netns, {}), restartable: true };
  const { id } = config;
  await runtime.create(config);
  const mounted = () =>
    readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(`/run/roots/${id} `)).length;
  const most: number[] = [];
  const slowly = async () => {
    for await (const _ of await runtime.archives.export(id)) {
      most.push(mounted());
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
  await Promise.all([slowly(), slowly(), slowly()]);
  assert.deepEqual([...new Set(most)], [1]);
  const looks = slowly();
  await eventually('somebody works in it', async () => mounted() === 1);
  await runtime.start(id);
  assert.equal(mounted(), 0);
  await looks;
  await runtime.remove(id);
});
