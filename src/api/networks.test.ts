/** The routes of networks, over fakes: as they are shown, made and removed, and who is connected to them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Json, startingServers, WEB } from './server-under-test.ts';

const start = startingServers();

test('ingress inspected shows one endpoint per node, the peers and the containers here', async () => {
  const { call, backends } = await start('manager');
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
  const other = [...backends.view.all('node').values()].find(({ id }) => id !== backends.control.selfId)!;
  backends.control.put('node', { ...other, status: { ...other.status, state: 'down' } });
  const { Peers } = (await call('GET', '/networks/ingress')).json;
  assert.deepEqual([Peers.length, Peers[0].IP], [1, '192.0.2.1'], 'a node that is down is no peer');
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
