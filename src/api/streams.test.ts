/** What is streamed of a service, over fakes: its logs, framed, with what is told of each line; its packets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Json, startingServers, WEB } from './server-under-test.ts';

const start = startingServers();

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

test('who follows a log that has no line yet has his answer all the same', async () => {
  const { call, backends, server } = await start('manager');
  await call('POST', '/services/create', WEB);
  backends.control.logs = async function* (_request, signal) {
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    yield* [];
  };
  const port = await server.listenTcp('127.0.0.1', 0);
  const leave = new AbortController();
  const { status } = await fetch(`http://127.0.0.1:${port}/services/web/logs?stdout=1&follow=1`, {
    signal: AbortSignal.any([leave.signal, AbortSignal.timeout(20_000)]),
  });
  assert.equal(status, 200);
  leave.abort();
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
  const [task] = [...backends.view.all('task').values()];
  const service = task!.serviceId;
  const query = { follow: false, tail: undefined, since: undefined, until: undefined, stdout: true };
  await ask('stdout=1');
  await ask('stderr=1&follow=1&tail=7&since=1795444687&until=1795444688.25');
  assert.deepEqual(asked, [
    { ...query, stderr: false, tasks: 3, service },
    {
      ...{ follow: true, tail: 7, stdout: false, stderr: true, tasks: 3, service },
      ...{ since: '2026-11-23T14:38:07.000000000Z', until: '2026-11-23T14:38:08.250000000Z' },
    },
  ]);
  asked.length = 0;
  await call('GET', `/tasks/${task!.id}/logs?stdout=1`);
  assert.deepEqual(asked, [{ ...query, stderr: false, tasks: 1 }], 'of one task, no other that comes');
  const odd = await ask('stdout=1&tail=-1');
  assert.deepEqual([odd.status, odd.json.message], [400, 'tail value must be a positive integer or "all"']);
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
