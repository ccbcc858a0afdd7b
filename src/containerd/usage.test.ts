import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { networkCounters, readUsage, systemTime } from './usage.ts';

test('processor time of the machine, in ns', () => {
  const stat = 'cpu  10 20 30 40 5 6 7 8 99 99\ncpu0 1 2 3 4 5 6 7 8 9 9\nintr 5\n';
  assert.equal(systemTime(stat), (10 + 20 + 30 + 40 + 5 + 6 + 7 + 8) * 10_000_000);
  assert.equal(systemTime(''), 0);
});

test('counters of each link but the loopback', () => {
  const dev = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1234567      12    1    2    0     0          0         0  7654321      34    3    4    0     0       0          0
`;
  assert.deepEqual(networkCounters(dev), {
    eth0: {
      ...{ rxBytes: 1234567, rxPackets: 12, rxErrors: 1, rxDropped: 2 },
      ...{ txBytes: 7654321, txPackets: 34, txErrors: 3, txDropped: 4 },
    },
  });
});

/** As the kernel writes them, for one container that has used the same. */
const HIERARCHIES: readonly (readonly [version: 1 | 2, files: Readonly<Record<string, string>>])[] = [
  [
    2,
    {
      'skein/c1/cpu.stat': 'usage_usec 7000\nuser_usec 4000\nsystem_usec 3000\nnr_periods 0\n',
      'skein/c1/memory.current': '913408\n',
      'skein/c1/memory.max': '134217728\n',
      'skein/c1/memory.stat': 'anon 500000\nfile 400000\ninactive_file 4096\n',
      'skein/c1/pids.current': '2\n',
    },
  ],
  [
    1,
    {
      'cpuacct/skein/c1/cpuacct.usage': '7000000\n',
      'cpuacct/skein/c1/cpuacct.stat': 'user 4\nsystem 3\n',
      'memory/skein/c1/memory.usage_in_bytes': '913408\n',
      'memory/skein/c1/memory.limit_in_bytes': '134217728\n',
      'memory/skein/c1/memory.stat': 'inactive_file 1\ntotal_inactive_file 4096\n',
      'pids/skein/c1/pids.current': '2\n',
    },
  ],
];

for (const [version, files] of HIERARCHIES)
  test(`what a container uses, by the files of cgroup v${version}`, async () => {
    const root = mkdtempSync(join(tmpdir(), 'skein-cgroup-'));
    const write = (name: string, content: string) => {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), content);
    };
    try {
      for (const [name, content] of Object.entries(files)) write(name, content);
      const read = async () => readUsage('skein/c1', version, process.pid, 2 ** 30, root);
      const { cpu, memory, pids } = await read();
      // v1 counts user and system in hundredths of a second.
      const share = version === 2 ? { user: 4e6, kernel: 3e6 } : { user: 4e7, kernel: 3e7 };
      assert.deepEqual(cpu, { total: 7e6, ...share });
      assert.deepEqual(memory, { usage: 913408, limit: 134217728, inactiveFile: 4096 });
      assert.equal(pids, 2);
      const limit = version === 2 ? 'skein/c1/memory.max' : 'memory/skein/c1/memory.limit_in_bytes';
      write(limit, version === 2 ? 'max\n' : '9223372036854771712\n');
      assert.equal((await read()).memory.limit, 2 ** 30, 'without a limit it is the memory of the machine');
    } finally {
      rmSync(root, { recursive: true });
    }
  });
