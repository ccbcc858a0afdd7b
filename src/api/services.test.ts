/** The routes of services and tasks, over fakes: Docker's fields and defaults, what is found, what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Task } from '../model/objects.ts';
import { type Json, startingServers, WEB } from './server-under-test.ts';

const start = startingServers();

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

test('of tasks, those that are removed and have ended are not shown, and of the present spec those that are up to date', async () => {
  const { call, backends } = await start('manager');
  await call('POST', '/services/create', WEB);
  const [one, two, three] = [...backends.view.all('task').values()] as [Task, Task, Task];
  const shown = async (filters: object = {}) => {
    const { json } = await call('GET', `/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`);
    return json.map(({ ID }: Json) => ID as string).sort();
  };
  const removed = { ...one, desiredState: 'remove' } as const;
  backends.control.put('task', removed);
  assert.deepEqual(await shown(), [one.id, two.id, three.id].sort(), 'it is still stopping');
  backends.control.put('task', { ...removed, status: { ...one.status, state: 'shutdown' } });
  assert.deepEqual(await shown(), [two.id, three.id].sort());
  backends.control.isUpToDate = ({ id }) => id === two.id;
  assert.deepEqual(await shown({ '_up-to-date': ['true'] }), [two.id]);
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
