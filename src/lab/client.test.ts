import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { EngineClient } from './client.ts';

async function withServer(
  answer: RequestListener,
  use: (client: EngineClient) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-client-'));
  const socket = join(folder, 'api.sock');
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  try {
    await use(new EngineClient(socket));
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    rmSync(folder, { recursive: true });
  }
}

test('a call sends JSON and a query, and gives the parsed answer', async () => {
  const answer: RequestListener = (req, res) => {
    let body = '';
    req.on('data', (chunk: Buffer) => (body += chunk.toString()));
    req.on('end', () => {
      res.setHeader('content-type', 'application/json');
      res.end(JSON.stringify({ method: req.method, url: req.url, body, type: req.headers['content-type'] }));
    });
  };
  await withServer(answer, async (client) => {
    const seen = await client.post('/x', { A: 1 }, { query: { filters: '{"a":1}', all: true } });
    assert.deepEqual(seen, {
      method: 'POST',
      url: '/x?filters=%7B%22a%22%3A1%7D&all=true',
      body: '{"A":1}',
      type: 'application/json',
    });
    assert.equal((await client.get<{ body: string }>('/y')).body, '');
  });
});

test("Docker's error becomes an error with its words and class", async () => {
  const answer: RequestListener = (req, res) => {
    res.statusCode = req.url === '/text' ? 500 : 409;
    res.end(req.url === '/text' ? 'oops' : '{"message":"port 80 is already in use"}');
  };
  await withServer(answer, async (client) => {
    await assert.rejects(client.get('/services'), {
      code: 'already-exists',
      message: 'GET /services: port 80 is already in use',
    });
    await assert.rejects(client.get('/text'), { code: 'internal', message: 'GET /text: HTTP 500 oops' });
    assert.equal((await client.raw('GET', '/services')).status, 409);
  });
});

test('an answer that breaks off is an error', async () => {
  const answer: RequestListener = (_, res) => {
    res.setHeader('content-length', '100');
    res.write('{"half":');
    setTimeout(() => res.destroy(), 5);
  };
  await withServer(answer, async (client) => {
    await assert.rejects(client.get('/x'), { code: 'unavailable', message: 'GET /x: the answer broke off' });
  });
});

test('no answer is no hang', async () => {
  await withServer(
    () => {},
    async (client) => {
      await assert.rejects(client.get('/slow', { timeoutMs: 30 }), { code: 'deadline-exceeded' });
      const abort = new AbortController();
      const call = client.get('/slow', { signal: abort.signal });
      abort.abort();
      await assert.rejects(call, { code: 'canceled' });
      assert.equal(await client.ping(30), false);
    },
  );
  const nobody = new EngineClient('/nowhere/api.sock');
  await assert.rejects(nobody.get('/x'), { code: 'unavailable' });
  assert.equal(await nobody.ping(), false);
});
