/** Published ports are nobody else's on the node, as long as they are published. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadLibc } from '../../src/kit/libc.ts';
import { createNetns, inNetns, removeNetns } from '../../src/kit/netns.ts';
import { bindPort, PortHolder } from '../../src/net/port-holder.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-ports-'));
const netns = join(folder, 'ns');
const inside = <T>(fn: () => T): T => inNetns(netns, fn);

before(() => void createNetns(netns));
after(() => {
  removeNetns(netns);
  rmSync(folder, { recursive: true, force: true });
});

/** Another program's attempt; its socket is closed again. */
function isFree(protocol: 'tcp' | 'udp', port: number): boolean {
  try {
    loadLibc().close(inside(() => bindPort(protocol, port)));
    return true;
  } catch (error) {
    assert.match(String(error), /EADDRINUSE/);
    return false;
  }
}

test('a held port can not be bound, its neighbours can; one let go of is free again', () => {
  const holder = new PortHolder(bindPort);
  assert.deepEqual(
    inside(() => holder.hold(new Set(['tcp/80', 'udp/53']))),
    [],
  );
  assert.deepEqual(
    [isFree('tcp', 80), isFree('udp', 53), isFree('udp', 80), isFree('tcp', 81)],
    [false, false, true, true],
  );
  inside(() => holder.hold(new Set(['tcp/80', 'tcp/81'])));
  assert.deepEqual([isFree('tcp', 80), isFree('tcp', 81), isFree('udp', 53)], [false, false, true]);
  inside(() => holder.close());
  assert.deepEqual([isFree('tcp', 80), isFree('tcp', 81)], [true, true]);
});

test('a port that another program has is said once, and taken over when he lets go', () => {
  const holder = new PortHolder(bindPort);
  const other = inside(() => bindPort('tcp', 80));
  const hold = () => inside(() => holder.hold(new Set(['tcp/80', 'tcp/82'])));
  assert.deepEqual(hold(), ['tcp/80']);
  assert.deepEqual(hold(), []);
  assert.deepEqual([...holder.taken.keys()], ['tcp/80']);
  assert.equal(isFree('tcp', 82), false, 'the others are held all the same');
  loadLibc().close(other);
  assert.deepEqual(hold(), []);
  assert.equal(holder.taken.size, 0);
  assert.equal(isFree('tcp', 80), false);
  inside(() => holder.close());
});
