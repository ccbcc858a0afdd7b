/**
 * The tables of `skein trace` of real packets: `recorded/*.jsonl` are the streams that POST /skein/trace gave on node1
 * of a lab of two nodes (services of one task a node: published over TCP and UDP, with skein.client-ip=preserve, called
 * by virtual IP from a `docker run` container, and without a task), `recorded/*.txt` what is printed of them.
 * SKEIN_GOLDEN=write prints them anew.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TraceEvent } from '../rpc/trace-messages.ts';
import type { Connection } from './connection.ts';
import { renderConnections, renderOutcome } from './render.ts';
import { TraceReport } from './report.ts';

const folder = fileURLToPath(new URL('recorded', import.meta.url));
const write = process.env['SKEIN_GOLDEN'] === 'write';

/** Kinds of the connections, and how each was told to be one. */
const RECORDED: Readonly<Record<string, readonly string[]>> = {
  'published-ports': [
    'tcp cross host closed conntrack',
    'tcp same host closed conntrack',
    'udp cross host open conntrack',
    'udp same host open conntrack',
  ],
  'clients-keep-their-addresses': ['tcp cross host closed conntrack', 'tcp same host closed conntrack'],
  'virtual-ip': ['tcp cross host closed conntrack', 'tcp same host closed conntrack'],
  'nobody-serves-it': ['tcp lost reset address'],
};

function replay(name: string): { readonly connections: readonly Connection[]; readonly text: string } {
  const report = new TraceReport({ clients: [], keepFrames: false });
  const lines = readFileSync(join(folder, `${name}.jsonl`), 'utf8')
    .split('\n')
    .filter(Boolean);
  for (const line of lines) report.take(JSON.parse(line) as TraceEvent, 0);
  const connections = report.connections(0, true);
  const { names, clocks } = report;
  const tables = connections.map((c) => `${renderConnections([c], names, clocks)}\n${renderOutcome(c)}\n`);
  return { connections, text: tables.join('\n') };
}

for (const [name, kinds] of Object.entries(RECORDED))
  test(`recorded: ${name}`, () => {
    const { connections, text } = replay(name);
    assert.deepEqual(
      connections.map((c) => [c.protocol, c.kind, c.outcome, c.joinedBy].join(' ')).toSorted(),
      kinds,
    );
    const file = join(folder, `${name}.txt`);
    if (write) writeFileSync(file, text);
    assert.equal(text, readFileSync(file, 'utf8'));
  });

test('every recording belongs to a test', () =>
  assert.deepEqual(
    readdirSync(folder).toSorted(),
    Object.keys(RECORDED)
      .flatMap((name) => [`${name}.jsonl`, `${name}.txt`])
      .toSorted(),
  ));
