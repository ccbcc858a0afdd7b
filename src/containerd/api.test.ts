import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Server, ServerCredentials, type ServiceError } from '@grpc/grpc-js';
import { ContainerdApi } from './api.ts';

/** A containerd that refuses every wait in these words, under the code for what has none. */
async function refusing(words: () => string, socket: string): Promise<Server> {
  const server = new Server();
  const bytes = (value: Buffer) => value;
  server.addService(
    {
      wait: {
        path: '/containerd.services.tasks.v1.Tasks/Wait',
        ...{ requestStream: false, responseStream: false },
        ...{ requestSerialize: bytes, requestDeserialize: bytes },
        ...{ responseSerialize: bytes, responseDeserialize: bytes },
      },
    },
    {
      wait: (_: unknown, answer: (error: Partial<ServiceError>) => void) =>
        answer({ code: 2, details: words() }),
    },
  );
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  );
  return server;
}

test('whoever notices first that the time of a call is over, it is that and no fault of containerd', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-api-'));
  const socket = join(folder, 'socket');
  let words = 'context deadline exceeded: unknown';
  const server = await refusing(() => words, socket);
  const api = new ContainerdApi(socket);
  try {
    await assert.rejects(api.tasks.wait({ containerId: 'a' }), { code: 'deadline-exceeded' });
    words = 'runc did not terminate successfully: exit status 1: unknown';
    await assert.rejects(api.tasks.wait({ containerId: 'a' }), { code: 'internal' });
  } finally {
    api.close();
    server.forceShutdown();
    rmSync(folder, { recursive: true });
  }
});
