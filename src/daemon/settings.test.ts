import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { loadSettings, socketPath } from './settings.ts';

const withFile = (content: string, use: (file: string) => void) => {
  const dir = mkdtempSync(join(tmpdir(), 'skein-settings-'));
  try {
    writeFileSync(join(dir, 'settings.json'), content);
    use(join(dir, 'settings.json'));
  } finally {
    rmSync(dir, { recursive: true });
  }
};

test('a flag wins over the file, the file over the default', () => {
  withFile('{"hostname":"from-file","dataRoot":"/data"}', (file) => {
    const settings = loadSettings(file, { hostname: 'from-flag' });
    assert.equal(settings.hostname, 'from-flag');
    assert.equal(settings.dataRoot, '/data');
    assert.equal(socketPath(settings), '/run/skein/skein.sock');
  });
});

test('what is not set has the default that README and the unit count on; the socket may lie elsewhere', () => {
  const { dataRoot, runRoot, listenAddr, cgroupParent } = loadSettings(undefined, {});
  assert.deepEqual(
    { dataRoot, runRoot, listenAddr, cgroupParent },
    { dataRoot: '/var/lib/skein', runRoot: '/run/skein', listenAddr: '0.0.0.0:2377', cgroupParent: '/skein' },
  );
  assert.equal(socketPath(loadSettings(undefined, { runRoot: '/run/other' })), '/run/other/skein.sock');
  assert.equal(socketPath(loadSettings(undefined, { socket: '/srv/api.sock' })), '/srv/api.sock');
});

test('an unknown key is an error that names it and the file', () => {
  withFile('{"dataRot":"/data"}', (file) => {
    assert.throws(
      () => loadSettings(file, {}),
      (error: Error) => error.message.includes('dataRot') && error.message.includes(file),
    );
  });
});

test('a file that is not JSON, or not there, is an error that names it', () => {
  withFile('nonsense', (file) =>
    assert.throws(() => loadSettings(file, {}), new RegExp(`cannot read.*${file}`)),
  );
  assert.throws(() => loadSettings('/no/such/file', {}), /cannot read settings from \/no\/such\/file/);
  for (const other of ['[]', 'null', '"x"'])
    withFile(other, (file) =>
      assert.throws(() => loadSettings(file, {}), { message: `settings in ${file} are not a JSON object` }),
    );
});

test('a bad value says which and why', () => {
  assert.throws(
    () => loadSettings(undefined, { dataRoot: 'relative' }),
    /dataRoot: must be an absolute path/,
  );
  assert.throws(() => loadSettings(undefined, { listenAddr: '2377' }), /listenAddr: must be ADDRESS:PORT/);
});
