/** What a request to make or watch a container may not say, and when its answer ends. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerId } from '../model/ids.ts';
import type { NetworkItem } from '../model/network-view.ts';
import { serverUnderTest } from './server-under-test.ts';

test('ports that are none are refused before anything is made of them', async () => {
  const { server, backends, call } = await serverUnderTest();
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
  assert.equal((await create({ '65535/udp': [{ HostPort: '65535' }] })).status, 201);
  assert.equal(backends.engine.control.created.length, 1);
  await server.close();
});

test('a setting that nobody knows is refused by its name, whatever the name', async () => {
  const { server, call } = await serverUnderTest();
  const { status, json } = await call('POST', '/containers/create', {
    Image: 'app:1',
    HostConfig: { constructor: 'x' },
  });
  assert.equal(status, 501);
  assert.match(json.message, /does not serve HostConfig\.constructor/);
  await server.close();
});

test('the usage of a container is told for as long as there is a container', async () => {
  const { server, backends, call, clock } = await serverUnderTest();
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
  await server.close();
});

test('a worker takes a network by id, name, or the beginning of an id that means one alone', async () => {
  const { server, backends, call } = await serverUnderTest('worker');
  const item = (networkId: string, name: string) =>
    ({ networkId, name, vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' }) as unknown as NetworkItem;
  const items = [item('abc1', 'front'), item('abc2', 'back'), item('xyz', 'abc')];
  Object.assign(backends.engine, { networks: async () => items });
  const named = async (ref: string) => {
    const { json } = await call('GET', `/networks/${ref}`);
    return json.Name ?? json.message;
  };
  assert.deepEqual(
    [await named('abc2'), await named('abc'), await named('x'), await named('front')],
    ['back', 'abc', 'abc', 'front'],
  );
  assert.equal(await named('ab'), 'network ab is ambiguous (2 matches found based on ID prefix)');
  assert.equal(await named('nosuch'), 'network nosuch not found');
  await server.close();
});
