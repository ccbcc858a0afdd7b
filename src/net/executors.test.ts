/** What kernels since 6.2 and 6.15 are lenient about, and Debian 12's is not, on a machine that may have a newer one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Executors, makeExecutors } from './executors.ts';
import type { Message } from './netlink.ts';
import type { Places } from './places.ts';
import type { Link, Place } from './state.ts';

function recorded(run: (executors: Executors) => void) {
  const sent: { place: Place; what: string; names: boolean }[] = [];
  const request = (place: Place) => (messages: readonly Message[]) => {
    for (const { what, body } of messages)
      sent.push({ place, what, names: body.includes(`${what.split(' ')[2]!}\0`) });
  };
  const places = {
    exists: () => false,
    index: () => 7,
    withFd: (_place: Place, use: (fd: number) => unknown) => use(7),
    route: (place: Place) => ({ request: request(place) }),
  };
  run(makeExecutors(places as unknown as Places));
  return sent;
}

const link = (place: string, name: string, type: object, more: object = {}): Link =>
  ({ place, name, type, mtu: 1500, up: true, ...more }) as unknown as Link;

test('a link is made from the namespace it is for, whose names alone count; a VXLAN device from that of its underlay', () => {
  const eth0 = link('c1', 'eth0', { kind: 'veth' });
  const port = link('fabric', 'v1', { kind: 'veth' }, { master: 'sk-4096' });
  const vxlan = link('fabric', 'vx-4096', { kind: 'vxlan', vni: 4096, local: '192.0.2.1', port: 4789 });
  const sent = recorded((executors) => {
    executors['link.create'](
      [{ kind: 'link.create', place: 'c1' as Place, link: eth0, peer: port }],
      'c1' as Place,
    );
    executors['link.create'](
      [{ kind: 'link.create', place: 'fabric', link: vxlan, peer: undefined }],
      'fabric',
    );
  });
  assert.deepEqual(sent, [
    { place: 'c1', what: 'add veth eth0', names: true },
    { place: 'fabric', what: 'change link v1', names: false },
    { place: 'root', what: 'add vxlan vx-4096', names: true },
  ]);
});

test('a change of a link does not name it: that would be a rename, which a link that is up is refused', () => {
  const bridge = link('fabric', 'sk-4096', { kind: 'bridge' }, { mac: '02:00:00:00:00:01' });
  const sent = recorded((executors) =>
    executors['link.set']([{ kind: 'link.set', place: 'fabric', link: bridge }], 'fabric'),
  );
  assert.deepEqual(sent, [{ place: 'fabric', what: 'change link sk-4096', names: false }]);
});
