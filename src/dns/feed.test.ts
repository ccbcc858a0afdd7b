/** The feed's own end, at each moment of the beginning of a conversation. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../kit/clock.ts';
import { writePidFile } from '../kit/detached.ts';
import { silentLog } from '../kit/log.ts';
import { ResolverFeed } from './feed.ts';

test('a feed that is closed while it calls its resolver hangs up, and tells who waits for it', async (t) => {
  const runRoot = mkdtempSync(join(tmpdir(), 'skein-feed-'));
  const options = {
    runRoot,
    logFile: join(runRoot, 'log'),
    version: '1',
    clock: systemClock,
    log: silentLog,
  };
  writePidFile(join(runRoot, 'resolver', '1.pid'), process.pid);
  const open = new Set<unknown>();
  const resolver = createServer((socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    socket.on('error', () => {});
    socket.resume(); // and it never answers
  });
  await new Promise<void>((resolve) => resolver.listen(new ResolverFeed(options).socket, resolve));
  t.after(() => {
    resolver.close();
    rmSync(runRoot, { recursive: true, force: true });
  });
  for (let turns = 0; turns < 20; turns++) {
    const feed = new ResolverFeed(options);
    const told = assert.rejects(feed.set({ put: new Map(), delete: [] }), { code: 'canceled' });
    for (let i = 0; i < turns; i++) await nextTurn();
    const late = AbortSignal.timeout(5_000);
    const hangs = new Promise((_, reject) =>
      late.addEventListener('abort', () => reject(new Error('it hangs'))),
    );
    await Promise.race([Promise.all([feed.close(), told]), hangs]);
    await assert.rejects(feed.set({ put: new Map(), delete: [] }), { code: 'canceled' });
  }
  for (let i = 0; i < 100 && open.size > 0; i++) await nextTurn();
  assert.equal(open.size, 0);
});
