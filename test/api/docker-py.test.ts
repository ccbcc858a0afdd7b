/** docker-py against the API. Skipped, and said so, where Python or the `docker` package is missing. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const found = spawnSync('python3', ['-c', 'import docker; docker.DockerClient'], { encoding: 'utf8' });
const skip = found.status === 0 ? false : 'python3 with the docker package is not on this machine';
if (skip) console.error(`SKIPPED: ${skip}`);

test('docker-py lists, creates, scales, reads logs and sees refusals', { skip }, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-api-py-'));
  const socket = join(dir, 'api.sock');
  const serve = join(import.meta.dirname, 'serve-fake.ts');
  const server = spawn(process.execPath, [serve, socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(server.stdout, 'data');
    const client = spawnSync('python3', [join(import.meta.dirname, 'client.py'), socket], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(client.status, 0, client.stderr);
    assert.match(client.stdout, /docker-py is content/);
  } finally {
    server.kill('SIGTERM');
    await once(server, 'close');
    rmSync(dir, { recursive: true, force: true });
  }
});
