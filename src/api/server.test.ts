/** What holds for every request: versions, paths, bodies, what is not served. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { normalize } from './normalize.ts';
import { MAX_BODY } from './request.ts';
import { startingServers, WEB } from './server-under-test.ts';

const start = startingServers();

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
  for (const type of ['text/plain', 'text/json', 'application/json-patch+json']) {
    const response = await server.app.inject({
      method: 'POST',
      url: '/services/create',
      payload: '{}',
      headers: { 'content-type': type },
    });
    assert.equal(response.statusCode, 400, type);
    assert.match(response.json<{ message: string }>().message, /must be 'application\/json'/);
  }
});

test('a word that is empty is one that was not said, as in Go', () => {
  const order = z.object({ Order: z.enum(['stop-first', 'start-first']).optional(), Name: z.string() });
  assert.deepEqual(normalize(order, { Order: '', Name: '' }), { Name: '' });
  const mode = z.object({ PublishMode: z.enum(['ingress', 'host']).default('ingress') });
  assert.deepEqual(mode.parse(normalize(mode, { PublishMode: '' })), { PublishMode: 'ingress' });
});
