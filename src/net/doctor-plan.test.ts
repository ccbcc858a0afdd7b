import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ipv4, NodeId } from '../model/ids.ts';
import { diagnose, type DoctorFacts } from './doctor-plan.ts';
import { NO_AUDITS } from './network-status.ts';

const NOW = 1_000_000;
const well: DoctorFacts = {
  running: true,
  status: {
    peers: [{ nodeId: 'b' as NodeId, hostname: 'node2', target: '10.255.0.3' as Ipv4 }],
    audits: NO_AUDITS,
  },
  kernel: { nftables: undefined, vxlan: undefined },
  forwarding: true,
  bridgeNetfilter: undefined,
  links: [{ name: 'eth0', mtu: 1500 }],
  chains: [],
  unseenFirewall: false,
  certificate: { from: NOW - 1000, to: NOW + 1000 },
  disk: 0.5,
  clockSynchronized: true,
  now: NOW,
};
const findings = (change: Partial<DoctorFacts>) =>
  diagnose({ ...well, ...change }).filter((finding) => finding.level !== 'ok');

test('a node that is well has nothing to do', () => {
  assert.deepEqual(findings({}), []);
});

test('every finding that is not ok says what to do', () => {
  const ill = diagnose({
    ...well,
    running: false,
    kernel: { vxlan: 'Operation not supported' },
    forwarding: false,
    links: [{ name: 'eth0', mtu: 1280 }],
    chains: [{ text: 'iptables-nft: table ip filter, chain FORWARD', drops: true, ours: false }],
    certificate: { from: NOW - 1000, to: NOW },
    disk: 0.9,
    clockSynchronized: false,
    status: {
      peers: [{ ...well.status.peers[0]!, awaySince: NOW - 400 }],
      audits: { count: 9, drifted: 1, repaired: { 'link.create': 1 }, lastMs: 3, lastDrift: NOW - 5_000 },
      notHeld: { 'tcp/80': 'another program has it' },
    },
  }).filter((finding) => finding.level !== 'ok');
  assert.deepEqual(
    ill.map((finding) => `${finding.name} ${finding.level}`),
    [
      'skeind fail',
      'kernel: vxlan fail',
      'forwarding warn',
      'mtu warn',
      'firewall fail',
      'ports warn',
      'peers warn',
      'audit warn',
      'certificate fail',
      'disk warn',
      'clock warn',
    ],
  );
  assert.ok(ill.every((finding) => finding.advice));
  assert.equal(ill.find((f) => f.name === 'peers')!.found, 'node2 steered away 0.4 s ago');
});

test('a chain that drops with our rules in front is well', () => {
  assert.deepEqual(findings({ chains: [{ text: 'iptables-nft', drops: true, ours: true }] }), []);
});

test('a firewall that can not be seen is told with the package that shows it', () => {
  const [finding, ...more] = findings({ unseenFirewall: true });
  assert.deepEqual([finding!.name, finding!.level, more], ['firewall', 'warn', []]);
  assert.match(finding!.advice!, /apt-get install iptables/);
});

test('a certificate that nobody renewed is told before it ends', () => {
  const valid = (from: number, to: number) => findings({ certificate: { from: NOW + from, to: NOW + to } });
  assert.deepEqual(valid(-84, 16), []);
  const [finding, ...more] = valid(-86, 14);
  assert.deepEqual([finding!.name, finding!.level, more], ['certificate', 'warn', []]);
  assert.match(finding!.found, /^ends at 1970-01-01T00:16:40\.014Z/);
  assert.deepEqual(findings({ certificate: undefined, disk: undefined }), []);
});
