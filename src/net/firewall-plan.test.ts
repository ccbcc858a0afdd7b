import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planFirewall, planRemoval, readIptables, readNft } from './firewall-plan.ts';

const DOCKER = `-P FORWARD DROP
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
`;
const OURS = [
  'into-the-mesh',
  'out-of-the-mesh',
  'way-out-of-containers',
  'answers-to-containers',
  'host-ports-of-containers',
];
const ours = OURS.map((name) => `-A FORWARD -m comment --comment "skein:${name}" -j ACCEPT\n`).join('');

test('a chain that accepts everything is left alone', () => {
  const chain = readIptables('iptables-nft', 'forward', '-P FORWARD ACCEPT\n');
  assert.deepEqual(planFirewall([chain]), { commands: [], inserted: 0 });
});

test('in front of a dropping chain go our accepts, by the command of its own backend', () => {
  for (const keeper of ['iptables-nft', 'iptables-legacy'] as const) {
    const { commands, inserted } = planFirewall([readIptables(keeper, 'forward', DOCKER)]);
    assert.equal(inserted, OURS.length);
    assert.deepEqual(
      commands.at(-1)!.join(' '),
      `${keeper} -w 5 -t filter -I FORWARD 1 -o sk-ingress -m conntrack --ctstate DNAT -m comment --comment skein:into-the-mesh -j ACCEPT`,
    );
  }
});

test('a second look finds nothing to do', () => {
  const chain = readIptables('iptables-nft', 'forward', DOCKER.replace('DROP\n', `DROP\n${ours}`));
  assert.equal(chain.rules, 2);
  assert.deepEqual(planFirewall([chain]).commands, []);
});

test('somebody came before us, or a rule of ours is lost: all of ours go to the front again, once', () => {
  for (const text of [DOCKER + ours, DOCKER.replace('DROP\n', `DROP\n${ours.replace(/.*into.*\n/, '')}`)]) {
    const { commands, inserted } = planFirewall([readIptables('iptables-nft', 'forward', text)]);
    assert.equal(inserted, OURS.length);
    assert.equal(commands.filter((c) => c.includes('-D')).length, text.match(/skein:/g)!.length);
    assert.ok(commands.findLastIndex((c) => c.includes('-D')) < commands.findIndex((c) => c.includes('-I')));
  }
});

test('leaving takes ours and nothing else', () => {
  const commands = planRemoval([readIptables('iptables-nft', 'forward', DOCKER + ours)]);
  assert.deepEqual(
    commands.map((c) => c.find((word) => word.startsWith('skein:'))),
    OURS.map((name) => `skein:${name}`),
  );
});

test('chains of nft itself: by handle out, by name in', () => {
  const chains = readNft('inet firewalld', [
    { chain: { name: 'filter_FORWARD', hook: 'forward', policy: 'drop', type: 'filter' } },
    { chain: { name: 'nat', hook: 'postrouting', policy: 'accept', type: 'nat' } },
    { rule: { chain: 'filter_FORWARD', handle: 7 } },
    { rule: { chain: 'filter_FORWARD', handle: 9, comment: 'skein:into-the-mesh' } },
  ]);
  assert.equal(chains.length, 1);
  const { commands } = planFirewall(chains);
  assert.deepEqual(commands[0]!.join(' '), 'nft delete rule inet firewalld filter_FORWARD handle 9');
  assert.deepEqual(
    commands.at(-1)!.join(' '),
    'nft insert rule inet firewalld filter_FORWARD oifname sk-ingress ct status dnat accept comment "skein:into-the-mesh"',
  );
});
