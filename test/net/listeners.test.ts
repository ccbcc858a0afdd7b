/** Whom the kernel would give a connection to, in another namespace. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createNetns, removeNetns } from '../../src/kit/netns.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { Ipv4 } from '../../src/model/ids.ts';
import { Listeners } from '../../src/net/listeners.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-listeners-'));
const netns = join(folder, 'ns');
const OWN = '10.9.8.7' as Ipv4;
/** The first server's port; each has one of its own, as the kernel may give one port at two addresses. */
const FIRST_PORT = 8001;
/** What a server there is bound to, and whether it would be given a connection to OWN. */
const SERVERS = [
  [{ host: '0.0.0.0' }, true],
  [{ host: '::' }, true],
  [{ host: OWN }, true],
  [{ host: `::ffff:${OWN}` }, true],
  [{ host: '127.0.0.1' }, false],
  [{ host: '::1' }, false],
  [{ host: '::', ipv6Only: true }, false],
] as const;
const ports = SERVERS.map((_, i) => FIRST_PORT + i);
/** Listens as it is told, and says so. */
const PROGRAM = `
const servers = JSON.parse(process.argv[1]).map((options) => new Promise((resolve) => {
  require('node:net').createServer().listen(options, resolve);
}));
Promise.all(servers).then(() => console.log('ready'));
`;
let child: ChildProcess;
const listeners = new Listeners();

before(async () => {
  createNetns(netns);
  for (const args of ['link set lo up', `address add ${OWN}/32 dev lo`])
    await runProcess(['nsenter', `--net=${netns}`, 'ip', ...args.split(' ')]);
  const options = JSON.stringify(SERVERS.map(([server], i) => ({ ...server, port: ports[i] })));
  child = spawn('nsenter', [`--net=${netns}`, process.execPath, '-e', PROGRAM, options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout!, 'data');
});
after(() => {
  child.kill('SIGKILL');
  removeNetns(netns);
  rmSync(folder, { recursive: true, force: true });
});

for (const [i, [server, isOpen]] of SERVERS.entries())
  test(`${JSON.stringify(server)} takes connections to ${OWN}: ${isOpen}`, () => {
    assert.deepEqual(listeners.closed(netns, OWN, [ports[i]!]), isOpen ? [] : [ports[i]]);
  });

test('of several ports, those that are closed; what listens in another namespace is not seen', async (t) => {
  const here = createServer().listen(0, '0.0.0.0');
  t.after(() => here.close());
  await once(here, 'listening');
  const { port } = here.address() as AddressInfo;
  assert.deepEqual(listeners.closed(netns, OWN, [port, ports[0]!]), ports.includes(port) ? [] : [port]);
});

test('what does not listen any more is closed', async () => {
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.deepEqual(listeners.closed(netns, OWN, ports), ports);
});
