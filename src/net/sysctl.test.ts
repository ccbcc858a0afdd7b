import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readSysctl, writeSysctl } from './sysctl.ts';

const CALLS = 'net/bridge/bridge-nf-call-iptables';
const IPV6 = 'net/ipv6/conf/default/disable_ipv6';

test('a switch of what the kernel lacks stands where the absence leaves it, until the module is loaded', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-sysctl-'));
  try {
    assert.deepEqual([readSysctl(CALLS, folder), readSysctl(IPV6, folder)], ['0', '1']);
    writeSysctl(CALLS, '0', folder);
    writeSysctl(IPV6, '1', folder);
    mkdirSync(join(folder, 'net/bridge'), { recursive: true });
    writeFileSync(join(folder, CALLS), '1\n');
    assert.equal(readSysctl(CALLS, folder), '1');
    writeSysctl(CALLS, '0', folder);
    assert.match(readFileSync(join(folder, CALLS), 'utf8'), /^0/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('what can not be had is refused, and other settings that are missing are not taken for set', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-sysctl-'));
  try {
    assert.throws(() => writeSysctl(CALLS, '1', folder), { code: 'ENOENT' });
    assert.throws(() => writeSysctl('net/ipv4/ip_forward', '1', folder), { code: 'ENOENT' });
    assert.equal(readSysctl('net/ipv4/conf/sk-gateway/rp_filter', folder), undefined);
    mkdirSync(join(folder, dirname(CALLS)), { recursive: true });
    writeSysctl(CALLS, '0', folder);
    assert.ok(!existsSync(join(folder, CALLS)), 'no file is made of a setting');
    mkdirSync(join(folder, CALLS));
    assert.throws(() => writeSysctl(CALLS, '0', folder), { code: 'EISDIR' }, 'other errors are told');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
