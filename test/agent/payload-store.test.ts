/** The files of secrets on a real tmpfs. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PayloadStore } from '../../src/agent/payload-store.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { ContainerId } from '../../src/model/ids.ts';

const file = (text: string) => ({
  ...{ target: '/run/secrets/key', content: Buffer.from(text) },
  ...{ mode: 0o400, uid: 0, gid: 0 },
});
const mountsBelow = (folder: string): number =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${folder}/`)).length;

test('the first tasks of a node, all at once, find their files in one tmpfs, which goes when cleared', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-payloads-'));
  const store = new PayloadStore(folder, runProcess);
  try {
    const ids = ['a', 'b', 'c', 'd'] as ContainerId[];
    const written = await Promise.all(ids.map((id) => store.write(id, [file(`of ${id}`)])));
    assert.equal(mountsBelow(folder), 1);
    const read = written.map((paths) => readFileSync(paths['/run/secrets/key']!, 'utf8'));
    assert.deepEqual(read, ['of a', 'of b', 'of c', 'of d']);
    const root = statSync(join(folder, 'secrets'));
    assert.deepEqual([root.mode & 0o777, root.uid], [0o700, 0], 'nobody else may look in');
    const own = { ...file('of e'), mode: 0o440, uid: 7, gid: 8 };
    const later = (await store.write('e' as ContainerId, [own]))['/run/secrets/key']!;
    const { mode, uid, gid } = statSync(later);
    assert.deepEqual([mode & 0o777, uid, gid], [0o440, 7, 8]);
    assert.equal(mountsBelow(folder), 1, 'and no second one over it');
    assert.equal(readFileSync(written[0]!['/run/secrets/key']!, 'utf8'), 'of a');
    await store.clear();
    assert.equal(mountsBelow(folder), 0);
  } finally {
    await store.clear();
    rmSync(folder, { recursive: true });
  }
});
