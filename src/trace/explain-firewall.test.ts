/** The host's own firewall on the way of a walk. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readIptables, readNft } from '../net/firewall-plan.ts';
import { A, type Change, go, lossOf, three, WEB } from './fake-explained.ts';

const firewalled =
  (hook: 'forward' | 'input', text: string): Change =>
  (node) => ({
    ...node,
    chains: [readIptables('iptables-nft', hook, text)],
  });
const OURS = `-A FORWARD -o sk-ingress -m conntrack --ctstate DNAT -m comment --comment "skein:into-the-mesh" -j ACCEPT
-A FORWARD -i sk-ingress -m conntrack --ctstate DNAT -m comment --comment "skein:out-of-the-mesh" -j ACCEPT
`;

const FIREWALLS: Record<
  string,
  readonly [hook: 'forward' | 'input', text: string, lost: RegExp | undefined]
> = {
  'a policy that drops': [
    'forward',
    '-P FORWARD DROP\n',
    /^firewall: host firewall of a drops in FORWARD: iptables-nft, table ip filter, chain FORWARD, policy drop$/m,
  ],
  'a policy that drops behind our accepts': ['forward', `-P FORWARD DROP\n${OURS}`, undefined],
  'a rule in front of ours': [
    'forward',
    `-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 8080 -j DROP\n${OURS}`,
    /chain FORWARD, rule 1: -A FORWARD -p tcp -m tcp --dport 8080 -j DROP$/m,
  ],
  'a rule about another port': [
    'forward',
    `-P FORWARD ACCEPT\n-A FORWARD -p tcp -m tcp --dport 22 -j REJECT --reject-with icmp-port-unreachable\n`,
    undefined,
  ],
  'a rule about other sources': [
    'forward',
    '-P FORWARD ACCEPT\n-A FORWARD -s 198.51.100.0/24 -j DROP\n',
    undefined,
  ],
  'a rule that only the answer meets': [
    'forward',
    '-P FORWARD ACCEPT\n-A FORWARD ! -s 192.0.2.0/24 -j DROP\n',
    /chain FORWARD, rule 1: -A FORWARD ! -s 192\.0\.2\.0\/24 -j DROP$/m,
  ],
  'an accept of its own': [
    'forward',
    '-P FORWARD DROP\n-A FORWARD -i eth+ -m conntrack --ctstate NEW -j ACCEPT\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n',
    undefined,
  ],
  'tunnels that are not let in': [
    'input',
    '-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n',
    /^firewall: host firewall of a drops in INPUT: iptables-nft, table ip filter, chain INPUT, policy drop$/m,
  ],
};

for (const [name, [hook, text, lost]] of Object.entries(FIREWALLS))
  test(`firewall: ${name}`, async () => {
    const loss = await lossOf(three({ a: firewalled(hook, text) }), A, WEB);
    if (lost) assert.match(loss, lost);
    else assert.doesNotMatch(loss, /firewall/);
  });

test('a jump that cannot be followed is said, and loses nothing', async () => {
  const change = firewalled('forward', '-P FORWARD ACCEPT\n-A FORWARD -j ufw-before-forward\n');
  const { paths } = await go(three({ a: change }), A, WEB);
  assert.ok(paths.every(({ loss }) => loss === undefined));
  assert.match(
    paths[0]!.decisions.join('\n'),
    /may drop in FORWARD: .*rule 1: -A FORWARD -j ufw-before-forward/,
  );
});

test('a chain of nft itself that drops', async () => {
  const chain = { name: 'way', hook: 'forward', policy: 'drop', type: 'filter' };
  const change: Change = (node) => ({ ...node, chains: readNft('inet guard', [{ chain }]) });
  assert.match(await lossOf(three({ a: change }), A, WEB), /nft, table inet guard, chain way, policy drop/);
});
