/** docker-py against the API. Skipped, and said so, where Python or the `docker` package is missing. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pythonWithDocker, skipWithoutDockerPy as skip } from '../python.ts';

test('docker-py lists, creates, scales, reads logs and sees refusals', { skip }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-api-py-'));
  const socket = join(dir, 'api.sock');
  const serve = join(import.meta.dirname, 'serve-fake.ts');
  const server = spawn(process.execPath, [serve, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(server.stdout, 'data');
    const client = spawnSync(pythonWithDocker, [join(import.meta.dirname, 'client.py'), socket], {
      encoding: 'utf8',
      timeout: 300_000,
    });
    assert.equal(client.status, 0, client.stderr);
    assert.match(client.stdout, /docker-py is content/);
  } finally {
    server.kill('SIGTERM');
    await once(server, 'close');
    rmSync(dir, { recursive: true, force: true });
  }
});
