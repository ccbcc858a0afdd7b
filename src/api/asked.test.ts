/** What the flags of a command ask for reaches the cluster and the node as it was asked, none lost and none swapped. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ContainerId, NodeId } from '../model/ids.ts';
import { type Json, serverUnderTest } from './server-under-test.ts';

describe('what is asked for', () => {
  let it: Awaited<ReturnType<typeof serverUnderTest>>;
  before(async () => {
    it = await serverUnderTest('manager');
  });
  after(() => it.server.close());

  /** Records the arguments of a method, which then does what it does. */
  function heard<K extends string>(of: Record<K, unknown>, name: K): unknown[][] {
    const calls: unknown[][] = [];
    const real = (of[name] as (...args: unknown[]) => unknown).bind(of);
    Object.assign(of, { [name]: (...args: unknown[]) => (calls.push(args), real(...args)) });
    return calls;
  }

  test('swarm init and join: every address, pool and port', async () => {
    const { backends, call } = await serverUnderTest();
    const [init, join] = [heard(backends, 'init'), heard(backends, 'join')];
    const addresses = { ListenAddr: '192.0.2.1:2377', AdvertiseAddr: '192.0.2.2', DataPathAddr: '192.0.2.3' };
    const more = { DataPathPort: 4790, DefaultAddrPool: ['10.9.0.0/16'], SubnetSize: 26 };
    await call('POST', '/swarm/init', { ...addresses, ...more, Availability: 'drain' });
    const [[request]] = init as [[Json]];
    assert.equal(request.spec.Name, 'default');
    assert.deepEqual(
      { ...request, spec: undefined },
      {
        ...{ listenAddr: '192.0.2.1:2377', advertiseAddr: '192.0.2.2', dataPathAddr: '192.0.2.3' },
        ...{ dataPathPort: 4790, addressPools: ['10.9.0.0/16'], subnetSize: 26 },
        ...{ availability: 'drain', forceNewCluster: false, spec: undefined },
      },
    );
    const bad = { RemoteAddrs: ['192.0.2.9:2377'], JoinToken: 'T', Availability: 'asleep' };
    const refused = await call('POST', '/swarm/join', bad);
    assert.deepEqual([refused.status, refused.json.message], [400, 'invalid Availability: "asleep"']);
    await call('POST', '/swarm/join', { ...addresses, ...bad, Availability: 'pause' });
    assert.deepEqual(join, [
      [
        {
          ...{ listenAddr: '192.0.2.1:2377', advertiseAddr: '192.0.2.2', dataPathAddr: '192.0.2.3' },
          ...{ remoteAddrs: ['192.0.2.9:2377'], joinToken: 'T', availability: 'pause' },
        },
      ],
    ]);
  });

  test('join-token --rotate: the one that is named', async () => {
    const calls = heard(it.backends.control, 'updateSwarm');
    const { Version, Spec } = (await it.call('GET', '/swarm')).json;
    const at = `/swarm/update?version=${Version.Index}`;
    await it.call('POST', `${at}&rotateWorkerToken=true`, Spec);
    await it.call('POST', `${at}&rotateManagerToken=1&rotateWorkerToken=0`, Spec);
    assert.deepEqual(
      calls.map(([, , rotate]) => rotate),
      [
        { workerToken: true, managerToken: false },
        { workerToken: false, managerToken: true },
      ],
    );
  });

  test('service update: rollback, and whose credentials', async () => {
    const calls = heard(it.backends.control, 'updateService');
    const WEB = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'app:1' } } };
    assert.equal((await it.call('POST', '/services/create', WEB)).status, 201);
    const update = async (query: string, auth?: string) => {
      const { Version, Spec } = (await it.call('GET', '/services/web')).json;
      const response = await it.server.app.inject({
        method: 'POST',
        url: `/services/web/update?version=${Version.Index}${query}`,
        payload: Spec,
        headers: auth === undefined ? {} : { 'x-registry-auth': auth },
      });
      return response.statusCode;
    };
    assert.equal(await update('', 'e30='), 200);
    assert.equal(await update('&rollback=previous&registryAuthFrom=previous-spec'), 200);
    assert.equal(await update('&rollback=twice'), 400);
    assert.equal(await update('&registryAuthFrom=nobody'), 400);
    assert.deepEqual(
      calls.map(([, , , options]) => options),
      [
        { registryAuth: 'e30=', rollback: false },
        { registryAuthFrom: 'previous-spec', rollback: true },
      ],
    );
    assert.equal((await it.call('DELETE', '/services/web')).status, 200);
    assert.equal(it.backends.view.all('service').size, 0);
  });

  test('node rm: with force only where it is asked for', async () => {
    const calls = heard(it.backends.control, 'removeNode');
    assert.equal((await it.call('DELETE', '/nodes/host2')).status, 400);
    assert.equal((await it.call('DELETE', '/nodes/host2?force=1')).status, 200);
    assert.deepEqual(calls, [
      ['host2', false],
      ['host2', true],
    ]);
  });

  test('node ls: a manager that is down is unreachable', async () => {
    const { backends, call } = it;
    const self = backends.view.get('node', backends.control.selfId)!;
    for (const [state, reachable] of [
      ['down', 'unreachable'],
      ['unknown', 'unknown'],
      ['ready', 'reachable'],
    ] as const) {
      backends.control.put('node', { ...self, status: { ...self.status, state } });
      const [node] = (await call('GET', '/nodes')).json;
      assert.deepEqual([node.Status.State, node.ManagerStatus.Reachability], [state, reachable]);
    }
  });

  test('node ls: the manager that leads is told from one that does not', async () => {
    const { backends, call } = it;
    const leads = async () =>
      (await call('GET', '/nodes')).json.map(({ ManagerStatus }: Json) => ManagerStatus?.Leader);
    assert.deepEqual(await leads(), [true]);
    const leader = backends.control.leader.bind(backends.control);
    backends.control.leader = () => 'another' as NodeId;
    assert.deepEqual(await leads(), [undefined]);
    backends.control.leader = leader;
  });

  test('containers and images: what runs, all, the last ones; the newest first; counted in info', async () => {
    const { backends, call, clock } = it;
    const ids: ContainerId[] = [];
    for (const name of ['one', 'two', 'three', 'four', 'five']) {
      await clock.advance(1000);
      backends.runtime.images.add(`${name}:1`, { created: new Date(clock.now()).toISOString() });
      const { json } = await call('POST', `/containers/create?name=${name}`, { Image: `${name}:1` });
      ids.push(json.Id);
      if (name !== 'four') await call('POST', `/containers/${name}/start`);
    }
    await call('POST', '/containers/two/pause');
    backends.runtime.exit(ids[2]!, 3);
    const names = async (query: string) =>
      (await call('GET', `/containers/json${query}`)).json.map((c: Json) => String(c.Names[0]).slice(1));
    assert.deepEqual(await names(''), ['five', 'two', 'one']);
    assert.deepEqual(await names('?all=1'), ['five', 'four', 'three', 'two', 'one']);
    assert.deepEqual(await names('?limit=3'), ['five', 'four', 'three']);
    const images: Json[] = (await call('GET', '/images/json')).json;
    const info = (await call('GET', '/info')).json;
    assert.deepEqual(
      [info.Containers, info.ContainersRunning, info.ContainersPaused, info.ContainersStopped, info.Images],
      [5, 2, 1, 2, images.length],
    );
    assert.deepEqual(
      images.map(({ RepoTags }) => RepoTags[0]).filter((tag) => tag !== 'app:1'),
      ['five:1', 'four:1', 'three:1', 'two:1', 'one:1'],
    );
    const version = (await call('GET', '/version')).json;
    assert.deepEqual([version.ApiVersion, version.MinAPIVersion], ['1.47', '1.24']);
  });

  test('rmi: an image in use goes by force only', async () => {
    const calls = heard(it.backends.runtime.images, 'remove');
    await it.call('DELETE', '/images/four:1');
    await it.call('DELETE', '/images/four:1?force=1');
    assert.deepEqual(
      calls.map(([, options]) => options),
      [{ force: false }, { force: true }],
    );
  });
});
