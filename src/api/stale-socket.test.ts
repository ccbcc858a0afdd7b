import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { removeStaleSocket } from './stale-socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-socket-'));
after(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

test('a socket that its process left behind is taken away', async () => {
  const path = at('left');
  const listen = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  spawnSync(process.execPath, ['-e', listen]);
  assert.ok(existsSync(path));
  await removeStaleSocket(path);
  assert.ok(!existsSync(path));
  await removeStaleSocket(path);
});

test('a daemon that is too busy to accept keeps its socket', async (t) => {
  const path = at('busy');
  const server = createServer((socket) => socket.destroy()).listen({ path, backlog: 1 });
  t.after(() => server.close());
  await once(server, 'listening');
  // All asked in one turn of the event loop, in which the server accepts none: the queue of the kernel is full.
  const waiting = Array.from({ length: 2 }, () => connect(path).on('error', () => undefined));
  t.after(() => waiting.forEach((socket) => socket.destroy()));
  const asked = removeStaleSocket(path);
  const served = { code: 'already-exists', message: /another process serves/ };
  await assert.rejects(asked, served);
  assert.ok(existsSync(path));
  await assert.rejects(removeStaleSocket(path), served, 'nor when it accepts again');
});

test('what is no socket stays, and is told', async () => {
  const [file, link, below] = [at('file'), at('link'), join(at('file'), 'socket')];
  writeFileSync(file, 'his');
  symlinkSync(file, link);
  for (const path of [file, link, below])
    await assert.rejects(removeStaleSocket(path), { code: 'failed-precondition', message: /is in the way/ });
  assert.ok(existsSync(file) && existsSync(link));
});
