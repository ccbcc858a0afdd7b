import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const RECORDED = new URL('../trace/recorded/published-ports.jsonl', import.meta.url);

test('a trace whose reader goes away ends, says so, and writes what it captured', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-trace-'));
  const [socket, file] = [join(folder, 'api.sock'), join(folder, 'out.pcapng')];
  const events = readFileSync(RECORDED, 'utf8')
    .split('\n')
    .filter((line) => line && !line.includes('"end"'));
  const server = createServer((_request, response) => response.write(`${events.join('\n')}\n`)); // and goes on
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  try {
    const argv = [MAIN, 'trace', 'web', '--socket', socket, '--write', file];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let said = '';
    child.stderr.on('data', (chunk) => (said += String(chunk)));
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(code, 0, said);
    assert.match(said, /; ended: nobody reads what it shows\n$/);
    assert.ok(readFileSync(file).length > 1000);
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(folder, { recursive: true });
  }
});
