import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import type { FakeBackends } from './fake-backends.ts';
import { STARTING } from './http-error.ts';
import { MAX_BODY } from './request.ts';
import type { ApiServer } from './server.ts';
import { type Json, serverUnderTest } from './server-under-test.ts';
import { z } from 'zod';
import { normalize } from './normalize.ts';

const servers: ApiServer[] = [];
after(async () => {
  for (const server of servers) await server.close();
});

async function start(membership: FakeBackends['membership'] = 'inactive') {
  const started = await serverUnderTest(membership);
  servers.push(started.server);
  return started;
}

const WEB = {
  Name: 'web',
  TaskTemplate: { ContainerSpec: { Image: 'nginx:latest', Init: false } },
  Mode: { Replicated: { Replicas: 3 } },
  EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80 }] },
};

test('ping tells version and membership, to GET and HEAD, with and without prefix', async () => {
  const { call, backends } = await start();
  const ping = await call('GET', '/_ping');
  assert.equal(ping.text, 'OK');
  assert.equal(ping.headers['api-version'], '1.47');
  assert.equal(ping.headers['ostype'], 'linux');
  assert.equal(ping.headers['cache-control'], 'no-cache, no-store, must-revalidate');
  assert.equal(ping.headers['swarm'], 'inactive');
  backends.membership = 'worker';
  const head = await call('HEAD', '/v1.30/_ping');
  assert.deepEqual([head.status, head.text, head.headers['swarm']], [200, '', 'active/worker']);
});

test('versions are answered as Docker does', async () => {
  const { call } = await start();
  assert.equal((await call('GET', '/v1.24/version')).status, 200);
  assert.equal((await call('GET', '/v1.47/version')).status, 200);
  const fresh = await call('GET', '/v1.99/version');
  assert.deepEqual(
    [fresh.status, fresh.json],
    [400, { message: 'client version 1.99 is too new. Maximum supported API version is 1.47' }],
  );
  const old = await call('GET', '/v1.9/version');
  assert.equal(old.status, 400);
  assert.match(old.json.message, /^client version 1\.9 is too old\. Minimum supported API version is 1\.24/);
  for (const path of ['/vx/version', '/v1.41', '/nothing', '/v1.41/nothing']) {
    const answer = await call('GET', path);
    assert.deepEqual([answer.status, answer.json], [404, { message: 'page not found' }], path);
  }
});

test('what is known but not served is 501 in words, whatever its body', async () => {
  const { call } = await start('manager');
  for (const [method, path] of [
    ['POST', '/commit'],
    ['POST', '/v1.41/build'],
    ['POST', '/session'],
    ['PUT', '/volumes/v'],
  ] as const) {
    const answer = await call(method, path, method === 'POST' ? {} : undefined);
    assert.equal(answer.status, 501, path);
    assert.match(answer.json.message, /^skein does not/, path);
  }
});

test('cluster requests outside a swarm and on a worker have their two wordings', async () => {
  const { call, backends } = await start();
  const outside = await call('GET', '/services');
  assert.equal(outside.status, 503);
  assert.match(outside.json.message, /Use "docker swarm init" or "docker swarm join"/);
  backends.membership = 'worker';
  const worker = await call('GET', '/nodes');
  assert.equal(worker.status, 503);
  assert.match(worker.json.message, /Worker nodes can't be used to view or modify cluster state/);
  backends.membership = 'manager';
  backends.cluster = () => undefined; // it has no view of the store yet
  const starting = await call('GET', '/nodes');
  assert.deepEqual([starting.status, starting.json.message], [503, STARTING]);
});

test("a second init and a leave without force are 503 in Docker's words", async () => {
  const { call } = await start('manager');
  const again = await call('POST', '/swarm/init', {});
  assert.equal(again.status, 503);
  assert.match(again.json.message, /^This node is already part of a swarm/);
  assert.equal((await call('POST', '/swarm/leave')).status, 503);
  assert.equal((await call('POST', '/swarm/leave?force=1')).status, 200);
});

test('bad bodies are 400 and name the field; nothing is changed', async () => {
  const { call, backends } = await start('manager');
  const cases: [unknown, RegExp][] = [
    ['{"Name": ', /^invalid JSON: /],
    ['', /EOF/],
    [{ ...WEB, UpdateConfig: { FailureAction: 'cry' } }, /^unrecognized update failure action cry$/],
    [{ ...WEB, RollbackConfig: { Order: 'x' } }, /^unrecognized update order x$/],
    [{ ...WEB, EndpointSpec: { Mode: 'x' } }, /^invalid resolution mode: x$/],
    [{ ...WEB, TaskTemplate: { RestartPolicy: { Condition: 'x' } } }, /^invalid RestartCondition: "x"$/],
    [{ ...WEB, TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'x' }] } } }, /^invalid MountType: "x"$/],
    [
      { ...WEB, TaskTemplate: { ContainerSpec: { Mounts: [{ Type: 'cluster' }] } } },
      /^mount type "cluster" is not served by Skein: bind, volume and tmpfs are$/,
    ],
    [
      { ...WEB, Mode: { Replicated: { Replicas: 'x' } } },
      /cannot unmarshal string into field Mode\.Replicated\.Replicas of type/,
    ],
    [{ ...WEB, Name: 5 }, /cannot unmarshal number into field Name of type string/],
    [[], /cannot unmarshal array into field body of type object/],
    [{ ...WEB, EndpointSpec: { Ports: [{ TargetPort: 70000 }] } }, /EndpointSpec\.Ports\.0\.TargetPort/],
    [
      { ...WEB, TaskTemplate: { ...WEB.TaskTemplate, Networks: [{ Target: 'nosuch' }] } },
      /^network nosuch not found$/,
    ],
  ];
  for (const [body, message] of cases) {
    const answer = await call('POST', '/services/create', body);
    assert.equal(answer.status, 400, String(message));
    assert.match(answer.json.message, message);
  }
  assert.equal(backends.view.all('service').size, 0);
});

test('an oversized body is refused', async () => {
  const { call } = await start('manager');
  const answer = await call('POST', '/services/create', `{"Name":"${'x'.repeat(MAX_BODY)}"}`);
  assert.equal(answer.status, 413);
  assert.match(answer.json.message, /request body too large/);
});

test('another content type is refused', async () => {
  const { server } = await start('manager');
  const response = await server.app.inject({
    method: 'POST',
    url: '/services/create',
    payload: '{}',
    headers: { 'content-type': 'text/plain' },
  });
  assert.equal(response.statusCode, 400);
  assert.match(response.json<{ message: string }>().message, /must be 'application\/json'/);
});

test('keys match without case, null and unknown keys count as absent', async () => {
  const { call } = await start('manager');
  const created = await call('POST', '/services/create', {
    name: 'web',
    taskTemplate: { containerSPEC: { image: 'a', HealthCheck: { test: ['CMD', 'x'] }, Env: null } },
    Nonsense: { a: 1 },
    labels: { 'Keep.Case': '' },
  });
  assert.equal(created.status, 201);
  const { Spec } = (await call('GET', `/services/${created.json.ID}`)).json;
  assert.equal(Spec.Name, 'web');
  assert.deepEqual(Spec.TaskTemplate.ContainerSpec.Healthcheck, { Test: ['CMD', 'x'] });
  assert.equal('Env' in Spec.TaskTemplate.ContainerSpec, false);
  assert.equal('Nonsense' in Spec, false);
  assert.deepEqual(Spec.Labels, { 'Keep.Case': '' });
});

test('a spec that a client reads and sends back is the same spec', async () => {
  const { call, backends } = await start('manager');
  await call('POST', '/services/create', WEB);
  const before = (await call('GET', '/services/web')).json;
  const update = await call('POST', `/services/web/update?version=${before.Version.Index}`, before.Spec);
  assert.deepEqual([update.status, update.json], [200, { Warnings: null }]);
  const service = backends.view.byName('service', 'web')!;
  assert.deepEqual(service.spec, service.previousSpec);
});

test('service, with the fields and defaults of Docker', async () => {
  const { call } = await start('manager');
  const { json, status } = await call('POST', '/services/create', WEB);
  assert.equal(status, 201);
  const plain = (await call('GET', `/services/${json.ID}?insertDefaults=false`)).json;
  assert.deepEqual(plain.Spec, {
    Name: 'web',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Image: 'nginx:latest', Init: false, Isolation: 'default' },
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: 3 } },
    EndpointSpec: {
      Mode: 'vip',
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80, PublishMode: 'ingress' }],
    },
  });
  assert.deepEqual(Object.keys(plain.Endpoint), ['Spec', 'Ports', 'VirtualIPs']);
  assert.equal('UpdateStatus' in plain, false);
  const full = (await call('GET', '/services/web?insertDefaults=true')).json.Spec;
  assert.deepEqual(full.UpdateConfig, {
    Parallelism: 1,
    FailureAction: 'pause',
    Monitor: 5000000000,
    MaxFailureRatio: 0,
    Order: 'stop-first',
  });
  assert.equal(full.TaskTemplate.ContainerSpec.StopGracePeriod, 10000000000);
  assert.deepEqual(full.TaskTemplate.RestartPolicy, { Condition: 'any', Delay: 5000000000, MaxAttempts: 0 });
  const [listed] = (await call('GET', '/services?status=true')).json;
  assert.deepEqual(listed.ServiceStatus, { RunningTasks: 3, DesiredTasks: 3, CompletedTasks: 0 });
});

test('tasks: both filter forms, names for ids, up to date ones only', async () => {
  const { call } = await start('manager');
  const { json } = await call('POST', '/services/create', WEB);
  const tasks = async (filters: unknown) => {
    const answer = await call('GET', `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    return answer.status === 200 ? answer.json.length : answer.json.message;
  };
  assert.equal(await tasks({ service: [json.ID] }), 3);
  assert.equal(await tasks({ service: { web: true }, '_up-to-date': { true: true } }), 3);
  assert.equal(await tasks({ node: ['host1'] }), 2);
  assert.equal(await tasks({ 'desired-state': ['shutdown'] }), 0);
  assert.equal(await tasks({ name: ['web.2'] }), 1);
  assert.equal(await tasks({ service: ['other'] }), 'service other not found');
  assert.equal(await tasks({ 'desired-state': ['x'] }), "Invalid desired-state filter: 'x'");
  assert.equal(await tasks({ nonsense: ['x'] }), "invalid filter 'nonsense'");
  assert.match(await tasks([]), /^invalid filter/);
  const [task] = (await call('GET', '/tasks')).json;
  assert.deepEqual(Object.keys(task), [
    ...['ID', 'Version', 'CreatedAt', 'UpdatedAt', 'Labels', 'Spec', 'ServiceID', 'Slot', 'NodeID', 'Status'],
    ...['DesiredState', 'NetworksAttachments'],
  ]);
  assert.deepEqual(Object.keys(task.Status), [
    'Timestamp',
    'State',
    'Message',
    'ContainerStatus',
    'PortStatus',
  ]);
  assert.deepEqual(task.NetworksAttachments[0].Network.Spec, {
    Name: 'ingress',
    Labels: {},
    DriverConfiguration: {},
    Ingress: true,
    IPAMOptions: { Driver: {} },
    Scope: 'swarm',
  });
});

test("updates name the version they saw; a stale one is refused in Swarm's words", async () => {
  const { call } = await start('manager');
  await call('POST', '/services/create', WEB);
  const stale = await call('POST', '/services/web/update?version=1', WEB);
  assert.deepEqual(
    [stale.status, stale.json],
    [500, { message: 'rpc error: code = Unknown desc = update out of sequence' }],
  );
  assert.equal((await call('POST', '/services/web/update?version=x', WEB)).status, 400);
  const taken = await call('POST', '/services/create', WEB);
  assert.equal(taken.status, 409);
  const node = await call('DELETE', '/nodes/host2');
  assert.equal(node.status, 400);
  assert.match(node.json.message, /code = FailedPrecondition/);
});

test('a rollback is asked for by one word; another is refused and changes nothing', async () => {
  const { call, backends } = await start('manager');
  await call('POST', '/services/create', WEB);
  const now = () => backends.view.byName('service', 'web')!;
  const image = () => now().spec.TaskTemplate.ContainerSpec.Image;
  const update = (query: string, Image: string) =>
    call('POST', `/services/web/update?version=${now().version}${query}`, {
      ...WEB,
      TaskTemplate: { ContainerSpec: { Image } },
    });
  assert.equal((await update('', 'nginx:2')).status, 200);
  const odd = await update('&rollback=next', 'nginx:3');
  assert.deepEqual([odd.status, odd.json.message], [400, 'unrecognized rollback option next']);
  assert.equal(image(), 'nginx:2');
  assert.equal((await update('&rollback=previous', 'nginx:3')).status, 200);
  assert.equal(image(), 'nginx:latest');
  assert.equal((await update('&rollback=none', 'nginx:3')).status, 200);
  assert.equal(image(), 'nginx:3');
});

test('node and swarm, with the fields of Docker', async () => {
  const { call } = await start('manager');
  const [self, other] = (await call('GET', '/nodes')).json;
  assert.deepEqual(self.ManagerStatus, { Leader: true, Reachability: 'reachable', Addr: '192.0.2.1:2377' });
  assert.equal('ManagerStatus' in other, false);
  assert.deepEqual(other.Status, { State: 'ready', Addr: '192.0.2.2' });
  assert.equal((await call('GET', '/nodes?filters={"role":["worker"]}')).json.length, 1);
  const swarm = (await call('GET', '/swarm')).json;
  assert.deepEqual(swarm.JoinTokens, { Worker: 'SWMTKN-1-aaa-worker', Manager: 'SWMTKN-1-aaa-manager' });
  assert.equal(swarm.Spec.CAConfig.NodeCertExpiry, 7776000000000000);
  assert.equal(JSON.stringify(swarm).includes('key'), false);
  const { Swarm } = (await call('GET', '/info')).json;
  assert.deepEqual(
    [Swarm.LocalNodeState, Swarm.ControlAvailable, Swarm.Nodes, Swarm.Managers],
    ['active', true, 2, 1],
  );
  assert.equal('JoinTokens' in Swarm.Cluster, false);
});

test('ingress inspected shows one endpoint per node, the peers and the containers here', async () => {
  const { call } = await start('manager');
  await call('POST', '/services/create', WEB);
  const network = (await call('GET', '/networks/ingress?verbose=true')).json;
  const names = Object.values<Json>(network.Containers).map((c) => String(c.Name));
  assert.equal(names.filter((name) => name === 'ingress-endpoint').length, 1);
  assert.equal(names.filter((name) => name === 'host2-ingress-endpoint').length, 1);
  assert.equal(names.filter((name) => name.startsWith('web.')).length, 2);
  assert.deepEqual(
    network.Peers.map((peer: { IP: string }) => peer.IP),
    ['192.0.2.1', '192.0.2.2'],
  );
  assert.equal(network.Services.web.Tasks.length, 3);
  assert.deepEqual(network.Labels, {}, 'it stands here');
  assert.equal((await call('GET', '/networks/nosuch')).json.message, 'network nosuch not found');
  const bridge = await call('POST', '/networks/create', { Name: 'b', Driver: 'bridge' });
  assert.equal(bridge.status, 501);
  const made = await call('POST', '/networks/create', { Name: 'n', Driver: 'overlay' });
  assert.equal(made.status, 201);
  const away = (await call('GET', `/networks/${made.json.Id}`)).json;
  assert.deepEqual([away.Containers, away.Labels, away.Peers], [null, null, undefined], 'nobody is there');
  assert.equal((await call('GET', '/networks?filters={"name":{"^n$":true}}')).json.length, 1);
  assert.equal((await call('DELETE', '/networks/n')).status, 204);
});

test('service logs are framed, with the attributes the CLI reads', async () => {
  const { call, backends } = await start('manager');
  await call('POST', '/services/create', { ...WEB, Mode: { Replicated: { Replicas: 1 } } });
  const [task] = [...backends.view.all('task').values()];
  const { raw, status } = await call(
    'GET',
    '/services/web/logs?stdout=1&stderr=1&details=1&timestamps=1&tail=all',
  );
  assert.equal(status, 200);
  assert.deepEqual([raw[0], raw.readUInt32BE(4)], [1, raw.length - 8]);
  assert.equal(
    raw.subarray(8).toString(),
    `${backends.now()} com.docker.swarm.node.id=${task!.nodeId},com.docker.swarm.service.id=${task!.serviceId},com.docker.swarm.task.id=${task!.id} hello from ${task!.id}\n`,
  );
  const none = await call('GET', '/services/web/logs');
  assert.deepEqual(
    [none.status, none.json.message],
    [400, 'Bad parameters: you must choose at least one stream'],
  );
});

test('service logs: what the log options name is told with each line; a driver that keeps nothing is no source', async () => {
  const { call } = await start('manager');
  const create = (Name: string, LogDriver: object) =>
    call('POST', '/services/create', {
      ...{ ...WEB, Name, EndpointSpec: {} },
      TaskTemplate: {
        ...WEB.TaskTemplate,
        LogDriver,
        ContainerSpec: { ...WEB.TaskTemplate.ContainerSpec, Labels: { tier: 'front' }, Env: ['A=1'] },
      },
    });
  await create('told', { Name: 'json-file', Options: { labels: 'tier', env: 'A' } });
  await create('mute', { Name: 'none' });
  const told = await call('GET', '/services/told/logs?stdout=1&details=1');
  assert.match(told.raw.subarray(8).toString(), /^A=1,com\.docker\.swarm\.node\.id=\w+,.*,tier=front hello/);
  const mute = await call('GET', '/services/mute/logs?stdout=1');
  assert.deepEqual(
    [mute.status, mute.json.message],
    [501, 'configured logging driver does not support reading'],
  );
});

test('every word of a log query reaches the managers; what is none is refused', async () => {
  const { call, backends } = await start('manager');
  await call('POST', '/services/create', WEB);
  const asked: object[] = [];
  backends.control.logs = async function* (request) {
    asked.push({ ...request, tasks: request.tasks.length });
    yield* [];
  };
  const ask = (query: string) => call('GET', `/services/web/logs?${query}`);
  const query = { follow: false, tail: undefined, since: undefined, until: undefined, stdout: true };
  await ask('stdout=1');
  await ask('stderr=1&follow=1&tail=7&since=1795444687&until=1795444688.25');
  assert.deepEqual(asked, [
    { ...query, stderr: false, tasks: 3 },
    {
      ...{ follow: true, tail: 7, stdout: false, stderr: true, tasks: 3 },
      ...{ since: '2026-11-23T14:38:07.000000000Z', until: '2026-11-23T14:38:08.250000000Z' },
    },
  ]);
  const odd = await ask('stdout=1&tail=-1');
  assert.deepEqual([odd.status, odd.json.message], [400, 'tail value must be a positive integer or "all"']);
});

test('containers: list, inspect and logs, raw where there is a terminal', async () => {
  const { call, backends } = await start('manager');
  const template = {
    ContainerSpec: { Image: 'nginx:latest', Command: ['sh'], Args: ['-c', 'a b'], TTY: true },
  };
  await call('POST', '/services/create', {
    ...WEB,
    TaskTemplate: template,
    Mode: { Replicated: { Replicas: 1 } },
  });
  const [container] = (await call('GET', '/containers/json')).json;
  assert.equal(container.Command, "sh -c 'a b'");
  assert.equal(container.State, 'running');
  assert.match(container.Status, /^Up /);
  assert.equal(container.NetworkSettings.Networks.ingress.IPAddress, '10.0.0.11');
  assert.equal((await call('GET', '/containers/json?filters={"is-task":["false"]}')).json.length, 0);
  const inspect = async () => (await call('GET', `/containers/${container.Id.slice(0, 12)}/json`)).json;
  const inspected = await inspect();
  backends.runtime.starve(container.Id);
  assert.deepEqual([inspected.State.OOMKilled, (await inspect()).State.OOMKilled], [false, true]);
  assert.deepEqual([inspected.Path, inspected.Args, inspected.Config.Tty], ['sh', ['-c', 'a b'], true]);
  backends.runtime.print(container.Id, 'stdout', 'one\ntwo\n');
  const logs = await call('GET', `/containers/${container.Id}/logs?stdout=1&tail=1`);
  assert.equal(logs.text, 'two\n');
  const missing = await call('GET', '/containers/nosuch/json');
  assert.deepEqual([missing.status, missing.json], [404, { message: 'No such container: nosuch' }]);
});

test('containers are connected to networks by the network’s name, with aliases and address, and disconnected', async () => {
  const { call, backends } = await start('manager');
  const made = await call('POST', '/networks/create', { Name: 'mynet', Driver: 'overlay', Attachable: true });
  backends.runtime.images.add('app:1');
  const { status, text } = await call('POST', '/containers/create?name=cc', { Image: 'app:1' });
  assert.equal(status, 201, text);
  const connect = (ref: string, EndpointConfig?: object, Container = 'cc') =>
    call('POST', `/networks/${ref}/connect`, { Container, EndpointConfig });
  const settings = { Aliases: ['db'], IPAMConfig: { IPv4Address: '10.0.2.9' }, Links: null, DriverOpts: {} };
  assert.equal((await connect(made.json.Id, settings)).status, 200);
  assert.deepEqual(backends.engine.control.connected, [
    { container: 'cc', wanted: { target: 'mynet', aliases: ['db'], address: '10.0.2.9' } },
  ]);
  for (const [status, words, ref, endpoint, container] of [
    [404, 'No such container: x', 'mynet', undefined, 'x'],
    [404, 'network nosuch not found', 'nosuch', undefined, 'cc'],
    [400, 'invalid IPv4 address: 10.0.2', 'mynet', { IPAMConfig: { IPv4Address: '10.0.2' } }, 'cc'],
    [
      501,
      'skein has no IPv6 on networks; leave --ip6 out',
      'mynet',
      { IPAMConfig: { IPv6Address: 'fd::1' } },
      'cc',
    ],
    [
      501,
      'skein does not serve --link; use the name of the other container',
      'mynet',
      { Links: ['a:b'] },
      'cc',
    ],
  ] as const) {
    const answer = await connect(ref, endpoint, container);
    assert.deepEqual([answer.status, answer.json.message], [status, words]);
  }
  const disconnect = () => call('POST', '/networks/mynet/disconnect', { Container: 'cc', Force: false });
  const gone = await disconnect();
  assert.equal(gone.status, 200, gone.text);
  assert.match((await disconnect()).json.message, /is not connected to the network mynet$/);
});

test('a word that is empty is one that was not said, as in Go', () => {
  const order = z.object({ Order: z.enum(['stop-first', 'start-first']).optional(), Name: z.string() });
  assert.deepEqual(normalize(order, { Order: '', Name: '' }), { Name: '' });
  const mode = z.object({ PublishMode: z.enum(['ingress', 'host']).default('ingress') });
  assert.deepEqual(mode.parse(normalize(mode, { PublishMode: '' })), { PublishMode: 'ingress' });
});

test('a trace is a line of JSON each event, its bounds and clients are checked, and only managers give it', async () => {
  const { call, clock } = await start('manager');
  await call('POST', '/services/create', WEB);
  const asked = call('POST', '/skein/trace', { Service: 'web', Clients: ['192.0.2.0/24'], Seconds: 2 });
  let answered = false;
  void asked.then(() => (answered = true));
  while (!answered) {
    await clock.advance(500);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { status, headers, text } = await asked;
  assert.deepEqual([status, headers['content-type']], [200, 'application/x-ndjson']);
  assert.deepEqual(
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Json),
    [
      { type: 'node', node: 'host1' },
      { type: 'node', node: 'host2' },
      { type: 'end', why: 'the time is over' },
    ],
  );
  const refused = async (body: object) => {
    const answer = await call('POST', '/skein/trace', { Service: 'web', ...body });
    return [answer.status, answer.json.message];
  };
  assert.deepEqual(await refused({ Clients: ['everybody'] }), [
    400,
    'invalid client "everybody": an IPv4 address or CIDR is needed',
  ]);
  assert.equal((await refused({ Service: 'nobody' }))[0], 404);
  assert.equal((await refused({ Packets: 0 }))[0], 400);
  assert.equal((await refused({ Seconds: 1e9 }))[0], 400);
  const worker = await start('worker');
  assert.equal((await worker.call('POST', '/skein/trace', { Service: 'web' })).status, 503);
});
