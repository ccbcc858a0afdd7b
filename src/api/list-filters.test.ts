/** Every filter of every list that the docker CLI offers, against the routes that serve them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import type { PortSpec } from '../model/spec.ts';
import { type Json, serverUnderTest } from './server-under-test.ts';

type Under = Awaited<ReturnType<typeof serverUnderTest>>;
type Rows = readonly (readonly [filters: object, expected: readonly string[] | string, status?: number])[];

const service = (Name: string, more: object = {}) => ({
  Name,
  TaskTemplate: { ContainerSpec: { Image: 'app:1' } },
  Mode: { Replicated: { Replicas: 2 } },
  ...more,
});

describe('filters of lists', () => {
  let it: Under;
  const ids = new Map<string, string>();
  const id = (name: string): string => ids.get(name)!;

  /** What a list shows under these filters, by the names that `name` finds; or why not. */
  const lists = (path: string, name: (item: Json) => string, rows: () => Rows): void => {
    void test(path, async () => {
      for (const [filters, expected, refused = 400] of rows()) {
        const at = path.includes('?') ? '&' : '?';
        const query = `${path}${at}filters=${encodeURIComponent(JSON.stringify(filters))}`;
        const { status, json } = await it.call('GET', query);
        const shown: Json = Array.isArray(json) ? json : (json?.Volumes ?? json);
        if (typeof expected === 'string')
          assert.deepEqual([status, shown.message], [refused, expected], JSON.stringify(filters));
        else assert.deepEqual(shown.map(name).sort(), expected, JSON.stringify(filters));
      }
      const unknown = await it.call('GET', `${path.split('?')[0]}?filters={"nonsense":["x"]}`);
      assert.deepEqual([unknown.status, unknown.json.message], [400, "invalid filter 'nonsense'"]);
    });
  };

  before(async () => {
    it = await serverUnderTest('manager');
    const { backends, call, clock } = it;
    backends.runtime.images.add('app:1');
    backends.runtime.images.add('other:2', { config: { ExposedPorts: { '9000/udp': {} } } });
    const post = async (name: string, path: string, body: object): Promise<void> => {
      await clock.advance(1000);
      const { status, json, text } = await call('POST', path, body);
      assert.ok(status < 300, text);
      ids.set(name, json.Id ?? json.ID ?? '');
    };
    await post('front', '/networks/create', { Name: 'front', Driver: 'overlay', Labels: { tier: '1' } });
    await post('back', '/networks/create', { Name: 'back', Driver: 'overlay', Internal: true });
    await post('web', '/services/create', service('web', { Labels: { app: 'web', env: 'prod' } }));
    await post('agent', '/services/create', service('agent', { Mode: { Global: {} } }));
    const web = backends.view.byName('service', 'web')!;
    for (const [Name, Mode] of Object.entries({ once: { ReplicatedJob: {} }, each: { GlobalJob: {} } }))
      backends.control.put('service', { ...web, id: Name as never, spec: { ...service(Name), Mode } });
    const data = Buffer.from('x').toString('base64');
    for (const kind of ['secrets', 'configs']) {
      await post(`${kind} key`, `/${kind}/create`, { Name: 'key', Labels: { of: 'web' }, Data: data });
      await post(`${kind} keyring`, `/${kind}/create`, { Name: 'keyring', Data: data });
    }
    await post('', '/volumes/create', { Name: 'data', Labels: { keep: 'yes' } });
    await post('', '/volumes/create', { Name: 'spare' });
    const container = (name: string, body: object) =>
      post(name, `/containers/create?name=${name}`, { Image: 'app:1', ...body });
    await container('first', { HostConfig: { Binds: ['data:/data'] }, Labels: { role: 'db', n: '1' } });
    const stand = { HostConfig: { NetworkMode: 'back' } };
    await container('second', { Image: 'other:2', Labels: { role: 'web' }, ...stand });
    await container('third', {});
    for (const name of ['first', 'third']) await call('POST', `/containers/${name}/start`);
    backends.runtime.exit(id('third') as ContainerId, 3);
    const port: PortSpec = { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' };
    backends.engine.bound.set(id('first') as ContainerId, [port]);
    const unwell = { Status: 'unhealthy', FailingStreak: 2, Log: [] } as const;
    backends.engine.healths.set(id('first') as ContainerId, unwell);
    const node = backends.view.get('node', backends.control.selfId)!;
    const spec = { ...node.spec, Labels: { zone: 'a' } };
    const { description } = node;
    const engine = { ...description!.engine, labels: { disk: 'ssd' } };
    backends.control.put('node', { ...node, spec, description: { ...description!, engine } });
  });
  after(() => it.server.close());

  const tasks = ['agent', 'agent', 'web', 'web'];
  const containerName = ({ Names }: Json) => String(Names[0]).slice(1).split('.')[0]!;
  const own = (...names: string[]) => [{ 'is-task': ['false'] }, names] as const;

  lists('/containers/json?all=1', containerName, () => [
    own('first', 'second', 'third'),
    [{ 'is-task': { true: true } }, ['agent', 'web']],
    [{ id: [id('second').slice(0, 64)] }, ['second']],
    [{ id: ['aaaa2'] }, ['second']],
    [{ name: ['ir'] }, ['first', 'third']],
    [{ name: ['^/first$'] }, ['first']],
    [{ label: ['role'] }, ['first', 'second']],
    [{ label: ['role=db', 'n=1'] }, ['first']],
    [{ label: ['role=db', 'n=2'] }, []],
    [{ status: ['exited'] }, ['third']],
    [{ status: ['created', 'exited'] }, ['second', 'third']],
    [{ status: ['gone'] }, "invalid filter 'status=gone'"],
    [{ exited: ['3'] }, ['third']],
    [{ exited: ['0'] }, []],
    [{ exited: ['x'] }, "invalid filter 'exited=[x]'"],
    [{ ancestor: ['other:2'] }, ['second']],
    [{ ancestor: ['app'], 'is-task': ['false'] }, []],
    [{ ancestor: ['app:1'], 'is-task': ['false'] }, ['first', 'third']],
    [{ before: ['second'], 'is-task': ['false'] }, ['first']],
    [{ since: [id('first')] }, ['second', 'third']],
    [{ volume: ['data'] }, ['first']],
    [{ volume: ['/data'] }, ['first']],
    [{ network: ['ingress'] }, ['agent', 'web']],
    [{ network: ['back'] }, ['second']],
    [{ publish: ['8080'] }, ['first']],
    [{ publish: ['8000-9000/tcp'] }, ['first']],
    [{ publish: ['8080/udp'] }, []],
    [{ publish: ['http'] }, "invalid filter 'publish=[http]'"],
    [{ expose: ['80'] }, ['first']],
    [{ expose: ['9000/udp'] }, []], // that of second, which does not run
    [{ health: ['unhealthy'] }, ['first']],
    [{ health: ['none'], 'is-task': ['false'] }, ['second', 'third']],
    [{ health: ['ill'] }, 'unrecognized filter value for health: ill'],
    [{ 'is-task': ['maybe'] }, "invalid filter 'is-task=[maybe]'"],
  ]);

  // What does not run is shown where its state is asked for, and otherwise only with --all.
  lists('/containers/json', containerName, () => [
    own('first'),
    [{ exited: ['3'] }, []],
    [{ status: ['exited'] }, ['third']],
    [{ since: ['first'] }, []],
  ]);

  lists(
    '/volumes',
    ({ Name }) => Name,
    () => [
      [{}, ['data', 'spare']],
      [{ dangling: ['true'] }, ['spare']],
      [{ dangling: ['false'] }, ['data']],
      [{ dangling: ['x'] }, "invalid filter 'dangling=[x]'"],
      [{ driver: ['local'] }, ['data', 'spare']],
      [{ driver: ['nfs'] }, []],
      [{ label: ['keep=yes'] }, ['data']],
      [{ name: ['pa'] }, ['spare']],
    ],
  );

  lists(
    '/networks',
    ({ Name }) => Name,
    () => [
      [{}, ['back', 'front', 'ingress']],
      [{ driver: ['overlay'], name: ['fro'] }, ['front']],
      [{ driver: ['bridge'] }, []],
      [{ id: [id('back')] }, ['back']],
      [{ id: [id('back').slice(0, 12)] }, ['back']],
      [{ label: ['tier=1'] }, ['front']],
      [{ scope: ['swarm'] }, ['back', 'front', 'ingress']],
      [{ scope: ['local'] }, []],
      [{ scope: ['world'] }, "Invalid scope filter: 'world'"],
      [{ type: ['custom'] }, ['back', 'front', 'ingress']],
      [{ type: ['builtin'] }, []],
      [{ type: ['x'] }, "Invalid type filter: 'x'"],
      [{ dangling: ['true'] }, ['back', 'front']],
      [{ dangling: ['0'] }, ['ingress']],
    ],
  );

  lists(
    '/nodes',
    ({ Description }) => Description.Hostname,
    () => [
      [{ id: ['node2'] }, ['host2']],
      [{ name: ['host'] }, ['host1', 'host2']],
      [{ name: ['host1'] }, ['host1']],
      [{ role: ['worker'] }, ['host2']],
      [{ role: ['boss'] }, "Invalid role filter: 'boss'"],
      [{ membership: ['accepted'] }, ['host1', 'host2']],
      [{ membership: ['pending'] }, []],
      [{ 'node.label': ['zone=a'] }, ['host1']],
      [{ label: ['disk'] }, ['host1']],
    ],
  );

  lists(
    '/services',
    ({ Spec }) => Spec.Name,
    () => [
      [{ id: [id('web')] }, ['web']],
      [{ id: [id('web').slice(0, 10)] }, ['web']],
      [{ label: ['app=web', 'env'] }, ['web']],
      [{ label: ['app=x'] }, []],
      [{ mode: ['global'] }, ['agent']],
      [{ mode: ['replicated'] }, ['web']],
      [{ mode: ['replicated', 'replicated-job'] }, ['once', 'web']],
      [{ mode: ['global-job'] }, ['each']],
      [{ mode: ['x'] }, "Invalid mode filter: 'x'"],
      [{ name: ['we'] }, ['web']],
      [{ runtime: ['container'] }, ['agent', 'each', 'once', 'web']],
    ],
  );

  // `service ps`, `node ps`, `stack ps`.
  const taskName = ({ ServiceID }: Json) => (ServiceID === id('web') ? 'web' : 'agent');
  lists('/tasks', taskName, () => [
    [{}, tasks],
    [{ service: ['web'] }, ['web', 'web']],
    [{ service: [id('web')], node: ['host2'] }, ['web']],
    [{ service: [id('web').slice(0, 12)] }, ['web', 'web']],
    [{ service: ['web', 'agent'] }, tasks],
    [{ service: ['web', 'nosuch'] }, 'service nosuch not found', 404],
    [{ node: ['host1'] }, ['agent', 'web']],
    [{ node: ['node2'] }, ['agent', 'web']],
    [{ node: ['nosuch'] }, 'node nosuch not found', 404],
    [{ name: ['web.1'] }, ['web']],
    [{ 'desired-state': ['running'] }, tasks],
    [{ 'desired-state': ['shutdown'] }, []],
    [{ 'desired-state': ['x'] }, "Invalid desired-state filter: 'x'"],
    [{ label: ['app=web'] }, ['web', 'web']],
    [{ runtime: ['container'] }, tasks],
    [{ '_up-to-date': ['true'] }, tasks],
  ]);

  for (const kind of ['secrets', 'configs'])
    lists(
      `/${kind}`,
      ({ Spec }) => Spec.Name,
      () => [
        [{ id: [id(`${kind} key`)] }, ['key']],
        [{ label: ['of=web'] }, ['key']],
        [{ name: ['key'] }, ['key', 'keyring']],
        [{ name: ['keyr'] }, ['keyring']],
        [{ names: ['key'] }, ['key']],
      ],
    );
});
