import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseIpv4 } from '../kit/cidr.ts';
import { chooseAdvertiseAddr, chooseDataPathAddr, chooseListenAddr, type LocalAddress } from './address.ts';
import { addressTowards } from './local-addresses.ts';

const on = (link: string, address: string): LocalAddress => ({ link, address: parseIpv4(address) });
const lo = on('lo', '127.0.0.1');
const eth0 = on('eth0', '192.0.2.11');
const eth1 = on('eth1', '198.51.100.1');

test('an address given is taken, with its port or the listen port', () => {
  assert.deepEqual(chooseAdvertiseAddr('192.0.2.9', '0.0.0.0:2377', []), {
    address: '192.0.2.9',
    port: 2377,
  });
  assert.deepEqual(chooseAdvertiseAddr('192.0.2.9:4000', '0.0.0.0:2377', []), {
    address: '192.0.2.9',
    port: 4000,
  });
  assert.deepEqual(chooseAdvertiseAddr('eth1', '0.0.0.0:2377', [eth0, eth1]).address, '198.51.100.1');
});

test('with none given, a specific listen address is advertised, else the only one there is', () => {
  assert.equal(chooseAdvertiseAddr('', '192.0.2.11:2377', [eth0, eth1]).address, '192.0.2.11');
  assert.equal(
    chooseAdvertiseAddr('', '0.0.0.0:2377', [lo, eth0, on('sk-gw', '172.18.0.1')]).address,
    '192.0.2.11',
  );
});

test('with several candidates the user must say, in the words Docker uses', () => {
  assert.throws(() => chooseAdvertiseAddr('', '0.0.0.0:2377', [lo, eth0, eth1]), {
    code: 'invalid-argument',
    message:
      'could not choose an IP address to advertise since this system has multiple addresses on different interfaces (192.0.2.11 on eth0 and 198.51.100.1 on eth1)',
  });
});

test('of several candidates whoever joins takes the one from which it reaches the manager', () => {
  const joins = (towards: LocalAddress) =>
    chooseAdvertiseAddr('', '0.0.0.0:2377', [lo, eth0, eth1, bridge], towards.address).address;
  const bridge = on('docker0', '172.17.0.1');
  assert.deepEqual([joins(eth0), joins(eth1)], [eth0.address, eth1.address]);
  for (const foreign of [lo, bridge]) assert.throws(() => joins(foreign), /multiple addresses/);
  assert.equal(chooseAdvertiseAddr('eth0', '0.0.0.0:2377', [eth0, eth1], eth1.address).address, '192.0.2.11');
  assert.equal(chooseAdvertiseAddr('', '192.0.2.11:2377', [eth0, eth1], eth1.address).address, '192.0.2.11');
});

test('what a host is reached from is asked of the kernel; of several hosts the first that can be reached counts', async () => {
  assert.equal(await addressTowards([':0', '127.0.0.1:2377']), '127.0.0.1');
  assert.equal(await addressTowards([':0']), undefined);
});

test('an interface with several addresses names none of them', () => {
  const two = [eth0, on('eth0', '203.0.113.7')];
  assert.throws(() => chooseAdvertiseAddr('eth0', '0.0.0.0:2377', two), {
    code: 'invalid-argument',
    message: 'interface eth0 has more than one IPv4 address (192.0.2.11 and 203.0.113.7)',
  });
});

test('an unknown interface and a bad port are refused', () => {
  assert.throws(() => chooseAdvertiseAddr('eth9', '0.0.0.0:2377', [eth0]), /network interface \(eth9\)/);
  assert.throws(() => chooseAdvertiseAddr('192.0.2.1:99999', '0.0.0.0:2377', [eth0]), /invalid address/);
});

test('the data path follows the advertised address unless told otherwise', () => {
  assert.equal(chooseDataPathAddr('', eth0.address, [eth0, eth1]), '192.0.2.11');
  assert.equal(chooseDataPathAddr('eth1', eth0.address, [eth0, eth1]), '198.51.100.1');
});

test('a manager listens where it was told, by address or interface, else where the settings say', () => {
  const listen = (wanted: string) => chooseListenAddr(wanted, '192.0.2.11:3377', [eth0, eth1]);
  for (const unsaid of ['', '0.0.0.0:2377']) assert.equal(listen(unsaid), '192.0.2.11:3377');
  assert.equal(listen('eth1'), '198.51.100.1:2377');
  assert.equal(listen('192.0.2.11:4000'), '192.0.2.11:4000');
  assert.throws(() => listen('eth9:2377'), /listen address must be .* network interface \(eth9\)/);
});
