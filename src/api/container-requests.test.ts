/** Containers as they are shown; what a request to make or watch one may not say, and when its answer ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { NetworkItem } from '../model/network-view.ts';
import { startingServers, WEB } from './server-under-test.ts';

const start = startingServers();

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

test('ports that are none are refused before anything is made of them', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  const create = (PortBindings: object) =>
    call('POST', '/containers/create', { Image: 'app:1', HostConfig: { PortBindings } });
  for (const [bindings, words] of [
    [{ '70000/tcp': [{}] }, 'invalid port specification: "70000/tcp"'],
    [{ '0/tcp': [{}] }, 'invalid port specification: "0/tcp"'],
    [{ '80/tcp': [{ HostPort: '65536' }] }, 'invalid port specification: "65536"'],
    [{ '80/tcp': [{ HostPort: '-1' }] }, 'invalid port specification: "-1"'],
  ] as const) {
    const { status, json } = await create(bindings);
    assert.deepEqual([status, json.message], [400, words]);
  }
  const { status, json } = await create({ '80/tcp': [{ HostIp: '::1', HostPort: '80' }] });
  assert.deepEqual(
    [status, json.message],
    [501, 'skein publishes at IPv4 addresses of the node; leave ::1 out'],
  );
  assert.equal((await create({ '65535/udp': [{ HostPort: '65535' }] })).status, 201);
  assert.equal(backends.engine.control.created.length, 1);
});

test('ports of one address are taken and shown as such, those of all as 0.0.0.0', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  const bindings = [
    { HostIp: '127.0.0.1', HostPort: '8080' },
    { HostIp: '', HostPort: '8081' },
  ];
  const PortBindings = { '80/tcp': bindings };
  const { Id } = (await call('POST', '/containers/create', { Image: 'app:1', HostConfig: { PortBindings } }))
    .json;
  const { ports } = backends.engine.control.created[0]!;
  assert.deepEqual(
    ports.map((port) => port.HostIp),
    ['127.0.0.1', undefined],
  );
  await call('POST', `/containers/${Id}/start`);
  backends.engine.bound.set(Id, ports);
  const { HostConfig, NetworkSettings } = (await call('GET', `/containers/${Id}/json`)).json;
  assert.deepEqual(HostConfig.PortBindings, PortBindings);
  assert.deepEqual(NetworkSettings.Ports, {
    '80/tcp': [bindings[0], { HostIp: '0.0.0.0', HostPort: '8081' }],
  });
  const [{ Ports }] = (await call('GET', '/containers/json')).json;
  assert.deepEqual(Ports, [
    { IP: '127.0.0.1', PrivatePort: 80, PublicPort: 8080, Type: 'tcp' },
    { IP: '0.0.0.0', PrivatePort: 80, PublicPort: 8081, Type: 'tcp' },
  ]);
});

test('a setting that nobody knows is refused by its name, whatever the name', async () => {
  const { call } = await start();
  const { status, json } = await call('POST', '/containers/create', {
    Image: 'app:1',
    HostConfig: { constructor: 'x' },
  });
  assert.equal(status, 501);
  assert.match(json.message, /does not serve HostConfig\.constructor/);
});

test('the usage of a container is told for as long as there is a container', async () => {
  const { backends, call, clock } = await start();
  backends.runtime.images.add('app:1', {});
  const { json } = await call('POST', '/containers/create?name=web', { Image: 'app:1' });
  let text: string | undefined;
  const answer = call('GET', '/containers/web/stats').then((whole) => (text = whole.text));
  await clock.advance(2500);
  assert.equal(text, undefined); // it does not run, and is there
  await backends.runtime.remove(json.Id as ContainerId);
  await clock.advance(1000);
  await answer;
  assert.equal(text!.trim().split('\n').length, 3);
});

test('a look whether the container is there that fails is told, and ends the usage of what does not run', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  await call('POST', '/containers/create?name=web', { Image: 'app:1' });
  const { engine } = backends;
  const container = engine.container.bind(engine);
  let looks = 0;
  engine.container = (ref) =>
    ++looks === 1
      ? container(ref)
      : Promise.reject(new SkeinError('unavailable', 'containerd does not answer'));
  const { text } = await call('GET', '/containers/web/stats');
  assert.equal(text, '{"message":"containerd does not answer"}\n');
});

test('a worker takes a network by id, name, or the beginning of an id that means one alone', async () => {
  const { backends, call } = await start('worker');
  const item = (networkId: string, name: string) =>
    ({ networkId, name, vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }) as unknown as NetworkItem;
  const items = [item('abc1', 'front'), item('abc2', 'back'), item('xyz', 'abc'), item('w', 'xyz')];
  Object.assign(backends.engine, { networks: async () => items });
  const named = async (ref: string) => {
    const { json } = await call('GET', `/networks/${ref}`);
    return json.Name ?? json.message;
  };
  assert.deepEqual(
    [await named('abc2'), await named('abc'), await named('x'), await named('xyz'), await named('front')],
    ['back', 'abc', 'abc', 'abc', 'front'],
  );
  assert.equal(await named('ab'), 'network ab is ambiguous (2 matches found based on ID prefix)');
  assert.equal(await named('nosuch'), 'network nosuch not found');
});

test('a health check is taken as it is asked for', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  const Healthcheck = { Test: ['CMD-SHELL', 'true'], Interval: 1e9 };
  const { status, json } = await call('POST', '/containers/create', { Image: 'app:1', Healthcheck });
  assert.equal(status, 201);
  assert.deepEqual(backends.engine.control.created[0]?.container.Healthcheck, Healthcheck);
  assert.deepEqual((await call('GET', `/containers/${json.Id}/json`)).json.Config.Healthcheck, Healthcheck);
});

test('a restart policy is taken, checked and shown; one that waits for its next run is restarting', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  const create = (HostConfig: object) => call('POST', '/containers/create', { Image: 'app:1', HostConfig });
  for (const [host, words] of [
    [{ RestartPolicy: { Name: 'sometimes' } }, "invalid restart policy 'sometimes'"],
    [
      { RestartPolicy: { Name: 'always', MaximumRetryCount: 3 } },
      "maximum retry count cannot be used with restart policy 'always'",
    ],
    [
      { RestartPolicy: { Name: 'always' }, AutoRemove: true },
      "can't create 'AutoRemove' container with restart policy",
    ],
  ] as const) {
    const { status, json } = await create(host);
    assert.deepEqual([status, json.message], [400, words]);
  }
  const id = (await create({ RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 } })).json.Id;
  assert.deepEqual(backends.engine.control.created[0]?.restart, { name: 'on-failure', maxRetries: 3 });
  await call('POST', `/containers/${id}/start`);
  backends.runtime.exit(id, 7);
  const restarting = { count: 2, waiting: true };
  backends.engine.again.set(id, restarting);
  const { json } = await call('GET', `/containers/${id}/json`);
  const { Status, Running, Restarting, ExitCode } = json.State;
  assert.deepEqual([Status, Running, Restarting, ExitCode], ['restarting', true, true, 7]);
  assert.deepEqual(json.HostConfig.RestartPolicy, { Name: 'on-failure', MaximumRetryCount: 3 });
  assert.equal(json.RestartCount, 2);
  // Shown without --all, as what runs.
  const [listed] = (await call('GET', '/containers/json')).json;
  assert.deepEqual([listed.Id, listed.State], [id, 'restarting']);
  assert.match(listed.Status, /^Restarting \(7\) /);
  const of = async (status: string) =>
    (await call('GET', `/containers/json?filters=${encodeURIComponent(`{"status":["${status}"]}`)}`)).json;
  assert.deepEqual([(await of('restarting')).length, (await of('exited')).length], [1, 0]);
  assert.equal((await call('GET', '/system/df')).json.Containers[0].State, 'restarting');
  assert.equal((await call('POST', '/containers/prune')).json.ContainersDeleted, null);
  const bad = await call('POST', `/containers/${id}/update`, { RestartPolicy: { Name: 'x' } });
  assert.deepEqual([bad.status, bad.json.message], [400, "invalid restart policy 'x'"]);
  const changed = await call('POST', `/containers/${id}/update`, { RestartPolicy: { Name: 'always' } });
  assert.equal(changed.status, 200);
  assert.equal((await call('GET', `/containers/${id}/json`)).json.HostConfig.RestartPolicy.Name, 'always');
  const Memory = 64 * 1024 * 1024;
  for (const change of [{ Memory, RestartPolicy: { Name: 'no' } }, { RestartPolicy: { Name: 'always' } }]) {
    await call('POST', `/containers/${id}/update`, change);
    const { HostConfig } = (await call('GET', `/containers/${id}/json`)).json;
    assert.deepEqual([HostConfig.Memory, HostConfig.RestartPolicy.Name], [Memory, change.RestartPolicy.Name]);
  }
});

test('what goes when it ends may name the policy that starts nothing again', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  for (const RestartPolicy of [undefined, { Name: '' }, { Name: 'no', MaximumRetryCount: 0 }]) {
    const HostConfig = { AutoRemove: true, RestartPolicy };
    assert.equal((await call('POST', '/containers/create', { Image: 'app:1', HostConfig })).status, 201);
  }
});

test('a change of the restart policy alone writes no limits, however many empty ones the client sends with it', async () => {
  const { backends, call } = await start();
  backends.runtime.images.add('app:1', {});
  const { Id } = (await call('POST', '/containers/create', { Image: 'app:1' })).json;
  const written: unknown[] = [];
  const { control } = backends.engine;
  control.update = async (_id, limits) => void written.push(limits);
  const RestartPolicy = { Name: 'always' };
  // The second is what the docker CLI sends.
  for (const body of [
    { RestartPolicy },
    { Memory: 0, MemorySwap: 0, NanoCpus: 0, PidsLimit: null, CpuShares: 0, RestartPolicy },
  ])
    assert.equal((await call('POST', `/containers/${Id}/update`, body)).status, 200);
  assert.deepEqual(written, []);
  await call('POST', `/containers/${Id}/update`, { PidsLimit: 7, RestartPolicy });
  assert.deepEqual(written, [{ Pids: 7 }]);
});
