import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { containerId, hostPort, sandbox } from './builders.ts';
import { SandboxRecords } from './sandbox-records.ts';

const spec = sandbox(1, '10.255.0.7');

test('what was written is read back by the next process', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-records-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const hostPorts = [hostPort(8000, 80, '127.0.0.1')];
  const links = { networks: [2], gateway: 0 };
  const record = { spec: { ...spec, hostPorts }, gateway: undefined, hostPorts, links, keepsClients: true };
  new SandboxRecords(folder).set(record);
  const read = new SandboxRecords(folder).get(containerId(1))!;
  assert.deepEqual(
    [read.links, read.hostPorts, read.spec.hostPorts, read.keepsClients],
    [links, hostPorts, hostPorts, true],
  );
});

test('a record of an older version, without numbers of links, has them in the order of its networks', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-records-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'sandboxes'));
  writeFileSync(join(folder, 'sandboxes', `${spec.id}.json`), JSON.stringify({ spec, hostPorts: [] }));
  assert.deepEqual(new SandboxRecords(folder).get(spec.id)?.links, { networks: [0], gateway: 1 });
});
