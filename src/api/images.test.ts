/** The routes of images, over fakes: answers as Docker's, and what each refusal says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Json, startingServers } from './server-under-test.ts';

const start = startingServers();

/** Lines of JSON. */
const linesOf = (text: string): Json[] =>
  text
    .trim()
    .split('\r\n')
    .map((line) => JSON.parse(line) as Json);

test('images: names with slashes, pull as a stream, failures as a status', async () => {
  const { call, backends } = await start();
  backends.runtime.images.offer('registry.example:5000/a/b:1');
  const pulled = await call('POST', '/images/create?fromImage=registry.example:5000/a/b&tag=1');
  const lines = linesOf(pulled.text);
  assert.deepEqual(lines[0], { status: 'Pulling from a/b', id: '1' });
  assert.equal(lines.at(-1)!.status, 'Status: Downloaded newer image for registry.example:5000/a/b:1');
  const again = async () =>
    linesOf((await call('POST', '/images/create?fromImage=registry.example:5000/a/b&tag=1')).text).at(-1)!
      .status;
  assert.equal(await again(), 'Status: Image is up to date for registry.example:5000/a/b:1');
  backends.runtime.images.offer('registry.example:5000/a/b:1', { id: 'sha256:newer' });
  assert.equal(await again(), 'Status: Downloaded newer image for registry.example:5000/a/b:1');
  const inspected = await call('GET', '/images/registry.example:5000/a/b:1/json');
  assert.deepEqual(inspected.json.RepoTags, ['registry.example:5000/a/b:1']);
  assert.equal((await call('GET', '/images/registry.example:5000/a/b:1/history')).status, 200);
  const missing = await call('POST', '/images/create?fromImage=nosuch');
  assert.equal(missing.status, 404);
  assert.equal((await call('POST', '/images/create?fromImage=NO%20GOOD')).status, 400);
  const foreign = await call('POST', '/images/create?fromImage=a/b&tag=1&platform=linux/arm64/v8');
  assert.equal(foreign.status, 501);
  assert.match(
    foreign.json.message,
    /what runs on this node: linux\/amd64 \(linux\/arm64\/v8 was asked for\)/,
  );
  const own = await call(
    'POST',
    '/images/create?fromImage=registry.example:5000/a/b&tag=1&platform=linux/amd64',
  );
  assert.equal(own.status, 200);
  backends.runtime.images.authorize = () => false;
  const closed = await call('POST', '/images/create?fromImage=registry.example:5000/a/b&tag=1');
  assert.equal(closed.status, 404, 'at a 401 the CLI would ask for a login');
  assert.match(closed.json.message, /^pull access denied for registry\.example:5000\/a\/b/);
  assert.equal((await call('POST', '/images/registry.example:5000/a/b:1/tag?repo=foo&tag=2')).status, 201);
  assert.deepEqual((await call('DELETE', '/images/foo:2')).json, [{ Untagged: 'foo:2' }]);
  assert.equal((await call('GET', '/images/gone/json')).json.message, 'No such image: gone:latest');
});

test('the credentials that a client sends go to the registry, in whatever letters their names are; garbage is none', async () => {
  const { server, backends } = await start();
  const { images } = backends.runtime;
  images.offer('registry.example/a/b:1');
  const asked: unknown[] = [];
  images.authorize = (_reference, auth) => (asked.push(auth), true);
  const auth = { username: 'me', password: '>>>???' };
  const sent = { Username: auth.username, PASSWORD: auth.password, email: 'x', identitytoken: '' };
  const header = Buffer.from(JSON.stringify(sent)).toString('base64url');
  const ask = async (method: 'GET' | 'POST', url: string, given = header) => {
    await server.app.inject({ method, url, headers: { 'x-registry-auth': given } });
    return asked.splice(0);
  };
  const pull = '/images/create?fromImage=registry.example/a/b';
  assert.deepEqual(await ask('POST', `${pull}&tag=1`), [auth]);
  assert.deepEqual(await ask('POST', pull), [auth, auth], 'which tags there are, and each of them');
  assert.deepEqual(await ask('POST', '/images/registry.example/a/b/push?tag=1'), [auth]);
  assert.deepEqual(await ask('GET', '/distribution/registry.example/a/b:1/json'), [auth]);
  for (const nothing of ['', 'e30=', '%%%', 'bnVsbA=='])
    assert.deepEqual(await ask('POST', `${pull}&tag=1`, nothing), [undefined], nothing);
});

test('images are pruned: without a tag, or all, by age and label, never those in use; the answer is Docker’s', async () => {
  const { call, backends, clock } = await start();
  const { images } = backends.runtime;
  const layers = (...ids: string[]) => ({ layers: ids, layerSizes: ids.map(() => 10) });
  const old = { created: new Date(clock.now() - 7_200_000).toISOString() };
  images.add('used:1', layers('sha256:base', 'sha256:used'));
  images.use('c1', 'used:1', () => false);
  images.add('old:1', { ...layers('sha256:base', 'sha256:old'), ...old });
  images.add('fresh:1', { ...layers('sha256:fresh'), config: { Labels: { keep: 'me' } } });
  const prune = async (filters: object = {}) => {
    const query = encodeURIComponent(JSON.stringify(filters));
    return (await call('POST', `/images/prune?filters=${query}`)).json;
  };
  assert.deepEqual(await prune({ dangling: { true: true } }), { ImagesDeleted: null, SpaceReclaimed: 0 });
  const all = { dangling: { false: true } };
  const first = await prune({ ...all, until: { '1h': true } });
  assert.equal(first.SpaceReclaimed, 10, 'the layer below is another image’s too');
  assert.deepEqual(first.ImagesDeleted[0], { Untagged: 'old:1' });
  assert.match(first.ImagesDeleted[1].Deleted, /^sha256:/);
  assert.deepEqual(await prune({ ...all, 'label!': { keep: true } }), {
    ImagesDeleted: null,
    SpaceReclaimed: 0,
  });
  assert.deepEqual((await prune({ ...all, label: { 'keep=me': true } })).ImagesDeleted[0], {
    Untagged: 'fresh:1',
  });
  const left = (await call('GET', '/images/json')).json;
  assert.deepEqual(
    left.map((one: Json) => one.RepoTags),
    [['used:1']],
  );
  assert.equal((await call('POST', '/images/prune?filters={"reference":["x"]}')).status, 400);
});

test('the list of images is filtered by name, tag, age and label', async () => {
  const { call, backends, clock } = await start();
  const at = (hours: number) => ({ created: new Date(clock.now() - hours * 3_600_000).toISOString() });
  backends.runtime.images.add('reg.example/a/web:1', at(1));
  backends.runtime.images.add('web:2', { ...at(2), config: { Labels: { tier: 'front' } } });
  backends.runtime.images.add('db:3', at(3));
  const tags = async (filters: object) => {
    const query = encodeURIComponent(JSON.stringify(filters));
    const { json } = await call('GET', `/images/json?filters=${query}`);
    return json.flatMap((one: Json) => one.RepoTags);
  };
  assert.deepEqual(await tags({ reference: ['web'] }), ['web:2']);
  assert.deepEqual(await tags({ reference: ['*/*/web:*'] }), ['reg.example/a/web:1']);
  assert.deepEqual(await tags({ until: ['90m'] }), ['web:2', 'db:3']);
  assert.deepEqual(await tags({ before: ['web:2'] }), ['db:3']);
  assert.deepEqual(await tags({ since: ['web:2'] }), ['reg.example/a/web:1']);
  assert.deepEqual(await tags({ label: ['tier=front'] }), ['web:2']);
  assert.deepEqual(await tags({ dangling: ['true'] }), []);
  assert.equal((await call('GET', '/images/json?filters={"before":["gone"]}')).status, 404);
  assert.equal((await call('GET', '/images/json?filters={"colour":["red"]}')).status, 400);
});

test('a push is lines as Docker’s, its refusals too; without a tag all of them go, and come', async () => {
  const { call, backends } = await start();
  const { images } = backends.runtime;
  for (const tag of ['1', '2']) images.add(`reg.example/team/app:${tag}`, {}, 'app');
  const lines = async (url: string) => {
    const { status, text } = await call('POST', url);
    assert.equal(status, 200, text);
    return linesOf(text);
  };
  const pushed = await lines('/images/reg.example/team/app/push?tag=1');
  assert.deepEqual(pushed[0], { status: 'The push refers to repository [reg.example/team/app]' });
  assert.deepEqual(pushed[1].status, 'Pushed');
  assert.match(pushed.at(-2).status, /^1: digest: sha256:[0-9a-f]{64} size: 1000$/);
  assert.deepEqual([pushed.at(-1).aux.Tag, pushed.at(-1).aux.Size], ['1', 1000]);
  const all = await lines('/images/reg.example/team/app/push');
  assert.deepEqual(
    all.flatMap((line) => (line.aux ? [line.aux.Tag] : [])),
    ['1', '2'],
  );
  const unknown = await lines('/images/reg.example/team/app/push?tag=3');
  assert.deepEqual(unknown.at(-1).errorDetail, { message: 'tag does not exist: reg.example/team/app:3' });
  const absent = await lines('/images/gone/push?tag=1');
  assert.deepEqual(absent[0].status, 'The push refers to repository [docker.io/library/gone]');
  assert.equal(absent.at(-1).error, 'An image does not exist locally with the tag: gone');
  for (const { id } of await images.list()) await images.remove(id, { force: true });
  const heads = (await lines('/images/create?fromImage=reg.example/team/app')).filter((line) => line.id);
  assert.deepEqual(
    heads.filter((line) => line.status.startsWith('Pulling')).map((line) => line.id),
    ['1', '2'],
  );
  images.authorize = () => false;
  assert.equal(
    (await lines('/images/reg.example/team/app/push?tag=1')).at(-1).error,
    'no basic auth credentials',
  );
  assert.equal((await call('POST', '/images/a@sha256:ab/push')).status, 400);
  assert.equal((await call('POST', '/images/a/push?tag=1&platform=linux/s390x')).status, 501);
});

test('an archive is imported with its changes; a URL is refused in words', async () => {
  const { call } = await start();
  const query = 'fromSrc=-&repo=own&tag=1&message=mine&changes=CMD%20%5B%22sh%22%5D&changes=ENV%20A=1';
  const made = await call('POST', `/images/create?${query}`, 'an archive');
  const { Id, Config, Comment } = (await call('GET', '/images/own:1/json')).json;
  assert.deepEqual(linesOf(made.text), [{ status: Id }]);
  assert.deepEqual([Config, Comment], [{ Cmd: ['sh'], Env: ['A=1'] }, 'mine']);
  const refused = async (query: string) => {
    const { status, json } = await call('POST', `/images/create?${query}`, 'an archive');
    return [status, json.message];
  };
  assert.deepEqual(await refused('fromSrc=http://example/x.tar'), [
    501,
    'skein imports what the client sends: fetch the archive, and give it to docker import',
  ]);
  assert.match((await refused('fromSrc=-&changes=RUN%20make'))[1], /RUN make is no change/);
  assert.equal((await refused('fromSrc=-&repo=NOT%20GOOD'))[0], 400);
});

test('images are saved by name, several in one archive; what is not here is a status', async () => {
  const { call, backends } = await start();
  for (const name of ['a/b:1', 'c:1']) backends.runtime.images.add(name);
  const one = await call('GET', '/images/a/b:1/get');
  assert.deepEqual([one.status, one.headers['content-type']], [200, 'application/x-tar']);
  assert.match(one.text, /"RepoTags":\["a\/b:1"\]/);
  const both = await call('GET', '/images/get?names=a/b:1&names=c:1');
  assert.match(both.text, /"a\/b:1"[^]*"c:1"/);
  const missing = await call('GET', '/images/get?names=a/b:1&names=nosuch:1');
  assert.deepEqual([missing.status, missing.json.message], [404, 'No such image: nosuch:1']);
  assert.equal((await call('GET', '/images/get')).status, 400);
});

test('the history of an image gives each step the size of its own layer', async () => {
  const { call, backends } = await start();
  const [layers, layerSizes] = [
    ['sha256:1', 'sha256:2'],
    [700, 30],
  ];
  const history = [
    { created_by: 'ADD root', created: '2026-01-01T00:00:00Z' },
    { created_by: 'ENV A=1', empty_layer: true },
    { created_by: 'COPY data', comment: 'the last' },
  ];
  const { id } = backends.runtime.images.add('app:1', { layers, layerSizes, history });
  const steps = (await call('GET', '/images/app:1/history')).json as unknown as Record<string, unknown>[];
  assert.deepEqual(
    steps.map((step) => [step['CreatedBy'], step['Size'], step['Id'], step['Comment'], step['Tags']]),
    [
      ['COPY data', 30, id, 'the last', ['app:1']],
      ['ENV A=1', 0, '<missing>', '', null],
      ['ADD root', 700, '<missing>', '', null],
    ],
  );
});
