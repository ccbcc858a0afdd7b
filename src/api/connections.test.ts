/** What clients do to their connections, on a real socket: none may cost more than itself, none may stay. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { USER_HZ } from '../kit/user-hz.ts';
import { type Answer, empty, type Peer } from './answer.ts';
import { FakeBackends } from './fake-backends.ts';
import type { Route } from './router.ts';
import { createApiServer } from './server.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-api-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Reads the beginning of the body, and answers. */
const firstPart = (answer: () => Answer): Route['handler'] => {
  return async ({ stream }) => {
    for await (const _ of stream) break;
    return answer();
  };
};

async function* oneWord() {
  yield Buffer.from('word');
}
async function* broken() {
  yield Buffer.from('word');
  throw new Error('broken');
}
async function* noEnd() {
  yield Buffer.from('word');
  await new Promise(() => {});
}
const streamed = (chunks: AsyncIterable<Uint8Array>): Answer => ({
  ...{ kind: 'stream', contentType: 'text/plain', chunks, eager: true },
  failure: (message) => Buffer.from(`failed: ${message}`),
});

const routes: readonly Route[] = [
  { method: 'GET', path: '/_ping', handler: () => empty() },
  { method: 'PUT', path: '/part', handler: firstPart(empty) },
  { method: 'PUT', path: '/part-stream', handler: firstPart(() => streamed(oneWord())) },
  { method: 'PUT', path: '/part-fails', handler: firstPart(() => streamed(broken())) },
  { method: 'GET', path: '/no-end', handler: () => streamed(noEnd()) },
  {
    method: 'POST',
    path: '/talk',
    handler: () => ({
      kind: 'duplex',
      contentType: 'text/plain',
      talk: async (peer) => {
        talking = peer;
        await once(peer.signal, 'abort');
      },
    }),
  },
];

/** The conversation that goes on. */
let talking: Peer | undefined;

let count = 0;
async function start() {
  const clock = new VirtualClock();
  const backends = new FakeBackends(clock);
  const server = await createApiServer({ backends, log: silentLog, clock, routes });
  const path = join(folder, `${count++}.sock`);
  await server.listen(path);
  return { server, path };
}

/** A client that keeps its half of the connection open, and what it has been told so far. */
function client(path: string) {
  const socket = connect({ path, allowHalfOpen: true });
  let told = '';
  socket.on('data', (chunk) => (told += String(chunk)));
  socket.on('error', () => {});
  const ended = new Promise<void>((resolve) => socket.once('end', resolve).once('close', () => resolve()));
  const says = (words: RegExp) =>
    new Promise<void>((resolve) => {
      const look = () => words.test(told) && resolve();
      socket.on('data', look);
      look();
    });
  return { socket, ended, says, told: () => told };
}

const head = (line: string, ...more: readonly string[]): string =>
  [`${line} HTTP/1.1`, 'Host: skein', ...more, '', ''].join('\r\n');
const UPGRADE = ['Connection: Upgrade', 'Upgrade: tcp'];
/** The server lets go of a client that keeps its half: whoever writes on finds nobody. */
async function isCut(socket: Socket): Promise<void> {
  const closed = new Promise<boolean>((resolve) => socket.once('close', () => resolve(true)));
  for (let n = 0; n < 300 && !socket.destroyed; n++) {
    socket.write('x');
    await Promise.race([closed, delay(50)]);
  }
  assert.ok(socket.destroyed, 'it is kept for ever');
}
const gone = (socket: Socket) => new Promise<void>((resolve) => socket.destroy().once('close', resolve));

test('a body that is left in the middle does not hold up its connection, whatever the answer', async () => {
  const { server, path } = await start();
  const body = Buffer.alloc(4 * 1024 * 1024);
  for (const [where, answer] of [
    ['/part', /200 OK/],
    ['/part-stream', /word/],
    ['/part-fails', /failed: broken/],
  ] as const) {
    const { socket, says } = client(path);
    socket.write(head(`PUT ${where}`, `Content-Length: ${body.length}`));
    socket.write(body.subarray(1));
    await says(answer); // at once
    socket.write(body.subarray(0, 1));
    socket.write(head('PUT /nowhere', 'Content-Length: 0'));
    await says(/page not found/);
    await gone(socket);
  }
  await server.close();
});

test('an upgrade request whose body never comes, or ends early, neither stays nor holds up the end', async () => {
  const { server, path } = await start();
  const [waiting, ending] = [client(path), client(path)];
  for (const { socket } of [waiting, ending])
    socket.write(head('PUT /part', ...UPGRADE, 'Content-Length: 10'));
  ending.socket.end();
  await ending.says(/400 Bad Request[^]*the request ended before its body/);
  await ending.ended;
  await server.close();
  await waiting.ended;
});

test('an upgrade request that is answered as any other ends with its client, read or unread', async () => {
  const { server, path } = await start();
  const plain = client(path);
  plain.socket.write(`${head('GET /_ping', ...UPGRADE)}more than was asked for`);
  await plain.says(/200 OK/);
  await plain.ended;
  const streaming = client(path);
  streaming.socket.write(`${head('GET /no-end', ...UPGRADE)}more than was asked for`);
  await streaming.says(/word/);
  streaming.socket.end();
  await streaming.ended;
  for (const { socket } of [plain, streaming]) await gone(socket);
  await server.close();
});

test('a client that has said all it has to say is heard out; one that is gone is missed', async () => {
  const { server, path } = await start();
  const answered = client(path); // and stays
  answered.socket.write(head('GET /_ping', ...UPGRADE));
  const { socket, says, told } = client(path);
  socket.end(head('POST /talk', ...UPGRADE));
  await says(/101 UPGRADED/);
  await delay(2_500);
  assert.equal(talking!.signal.aborted, false);
  await talking!.write(Buffer.from('still there'));
  await says(/still there/);
  assert.match(told(), /\r\n\r\nstill there$/);
  await gone(socket);
  if (!talking!.signal.aborted) await once(talking!.signal, 'abort', { signal: AbortSignal.timeout(10_000) });
  assert.match(answered.told(), /200 OK/);
  await isCut(answered.socket);
  await server.close();
});

test('over TCP the kernel asks every other second whether the client of a conversation is there', async () => {
  const { server } = await start();
  const port = await server.listenTcp('127.0.0.1', 0);
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  const far = socket.localPort!;
  assert.equal(await nextAsking(port, far), undefined, 'not yet: it has asked for nothing');
  socket.write(head('POST /talk', ...UPGRADE));
  await once(socket, 'data');
  const ms = await nextAsking(port, far);
  await gone(socket);
  await server.close();
  assert.ok(ms !== undefined && ms <= 2_000, `the kernel asks in ${ms} ms`);
});

/** When the kernel will ask the far end of a connection for a sign of life, in milliseconds; undefined: never. */
async function nextAsking(port: number, far: number): Promise<number | undefined> {
  const end = (one: number) => `0100007F:${one.toString(16).toUpperCase().padStart(4, '0')}`;
  for (;;) {
    const line = readFileSync('/proc/self/net/tcp', 'utf8')
      .split('\n')
      .map((text) => text.trim().split(/\s+/))
      .find(([, local, remote]) => local === end(port) && remote === end(far));
    const [timer, when] = line![5]!.split(':');
    // 01: what was said is not acknowledged yet.
    if (timer !== '01') return timer === '02' ? parseInt(when!, 16) * (1000 / USER_HZ) : undefined;
    await delay(5);
  }
}

test('what is no request is told so once and cut off, and never in the middle of an answer', async () => {
  const { server, path } = await start();
  const garbage = client(path);
  garbage.socket.write('GARBAGE\r\n\r\n');
  await garbage.says(/^HTTP\/1\.1 400 Bad Request[^]*malformed request/);
  await garbage.ended;
  await isCut(garbage.socket);
  const streaming = client(path);
  streaming.socket.write(head('GET /no-end'));
  await streaming.says(/word/);
  streaming.socket.write('GARBAGE\r\n\r\n');
  await streaming.ended;
  assert.doesNotMatch(streaming.told(), /400|malformed/);
  await server.close();
});

test('what fastify would refuse by itself has the form of all refusals', async () => {
  const { server, path } = await start();
  for (const request of [
    head('GET /containers/%zz/json'),
    head('PROPFIND /info'),
    `${head('PUT /nowhere', 'Content-Type: ???', 'Content-Length: 2')}{}`,
  ]) {
    const { socket, says, told } = client(path);
    socket.write(request);
    await says(/\}\n$/);
    assert.match(told(), /^HTTP\/1\.1 404 Not Found\r\nApi-Version: [^]*\{"message":"page not found"\}\n$/);
    await gone(socket);
  }
  await server.close();
});
