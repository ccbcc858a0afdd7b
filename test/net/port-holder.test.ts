/** Published ports are nobody else's on the node, as long as they are published. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { AF_INET, loadLibc, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET } from '../../src/kit/libc.ts';
import { createNetns, inNetns, removeNetns } from '../../src/kit/netns.ts';
import { SkeinError } from '../../src/model/errors.ts';
import { LibNft, LOW_DESCRIPTORS } from '../../src/net/libnft.ts';
import { bindPort, PortHolder } from '../../src/net/port-holder.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-ports-'));
const netns = join(folder, 'ns');
const inside = <T>(fn: () => T): T => inNetns(netns, fn);

before(() => void createNetns(netns));
after(() => {
  removeNetns(netns);
  rmSync(folder, { recursive: true, force: true });
});

/** Another program's attempt; its socket is closed again. */
function isFree(protocol: 'tcp' | 'udp', port: number): boolean {
  try {
    loadLibc().close(inside(() => bindPort(protocol, port)));
    return true;
  } catch (error) {
    assert.match(String(error), /EADDRINUSE/);
    return false;
  }
}

/** What a server says that is started at the port, and ends at once: nothing when it could. */
function startServer(port: number): string {
  const server = `require('node:net').createServer().listen({ host: '0.0.0.0', port: ${port} })`;
  const program = `${server}.on('error', ({ code }) => (console.log(code), process.exit())).on('listening', process.exit)`;
  const argv = [`--net=${netns}`, process.execPath, '-e', program];
  return spawnSync('nsenter', argv, { encoding: 'utf8' }).stdout.trim();
}

test('a held port can not be bound, its neighbours can; one let go of is free again', () => {
  const holder = new PortHolder(bindPort);
  assert.deepEqual(
    inside(() => holder.hold(new Set(['tcp/80', 'udp/53']))),
    [],
  );
  assert.deepEqual(
    [isFree('tcp', 80), isFree('udp', 53), isFree('udp', 80), isFree('tcp', 81)],
    [false, false, true, true],
  );
  inside(() => holder.hold(new Set(['tcp/80', 'tcp/81'])));
  assert.deepEqual([isFree('tcp', 80), isFree('tcp', 81), isFree('udp', 53)], [false, false, true]);
  inside(() => holder.close());
  assert.deepEqual([isFree('tcp', 80), isFree('tcp', 81)], [true, true]);
});

test('ports of single addresses are held there, each on its own', () => {
  const holder = new PortHolder(bindPort);
  const two = ['tcp/127.0.0.1:80', 'tcp/127.0.0.2:80'];
  inside(() => two.forEach((port) => holder.take(port)));
  assert.deepEqual(
    inside(() => holder.hold(new Set(two))),
    [],
  );
  for (const port of ['tcp/127.0.0.2:80', 'tcp/80'])
    assert.throws(() => inside(() => new PortHolder(bindPort).take(port)), { code: 'already-exists' });
  inside(() => holder.close());
  assert.equal(isFree('tcp', 80), true);
});

test('what lingers of a program that has ended is in nobody’s way, and lets nobody in', () => {
  const libc = loadLibc();
  // Bound as servers are, and not listening: so is a connection that has ended.
  const lingering = inside(() => libc.socket(AF_INET, SOCK_STREAM, 0));
  libc.setsockopt(lingering, SOL_SOCKET, SO_REUSEADDR, 1);
  const where = Buffer.from([AF_INET, 0, 0, 83, ...Buffer.alloc(12)]);
  libc.bind(lingering, where);
  const holder = new PortHolder(bindPort);
  inside(() => holder.take('tcp/83'));
  libc.close(lingering);
  // It shares what lingers, as ours did. Linux 6.1 lets it bind beside ours then, and not listen.
  assert.equal(startServer(83), 'EADDRINUSE');
  inside(() => holder.close());
  assert.equal(startServer(83), '');
});

test('a port that another program has is said once, and taken over when he lets go', () => {
  const holder = new PortHolder(bindPort);
  const other = inside(() => bindPort('tcp', 80));
  const hold = () => inside(() => holder.hold(new Set(['tcp/80', 'tcp/82'])));
  assert.deepEqual(hold(), ['tcp/80']);
  assert.deepEqual(hold(), []);
  assert.deepEqual([...holder.notHeld], [['tcp/80', 'another program has it']]);
  assert.equal(isFree('tcp', 82), false, 'the others are held all the same');
  loadLibc().close(other);
  assert.deepEqual(hold(), []);
  assert.equal(holder.notHeld.size, 0);
  assert.equal(isFree('tcp', 80), false);
  inside(() => holder.close());
});

test('however many ports are held, descriptors that select(2) can wait for stay free', () => {
  inside(() => new LibNft()).close();
  const first = inside(() => bindPort('tcp', 1_999));
  assert.ok(first >= LOW_DESCRIPTORS, `${first}, though there are lower ones`);
  loadLibc().close(first);
  const holder = new PortHolder(bindPort);
  const ports = new Set(Array.from({ length: LOW_DESCRIPTORS + 100 }, (_, n) => `tcp/${2_000 + n}`));
  inside(() => holder.hold(ports));
  assert.equal(holder.notHeld.size, 0);
  // Nor does it matter that others have taken all the low ones meanwhile, as long as a few are reserved.
  const others = Array.from({ length: LOW_DESCRIPTORS }, () => openSync('/dev/null', 'r'));
  for (let round = 0; round < 3; round++) {
    const nft = inside(() => new LibNft());
    nft.run('add table ip many; delete table ip many');
    nft.close();
  }
  others.forEach((fd) => closeSync(fd));
  inside(() => holder.close());
});

test('a protocol that the kernel has no sockets for needs no holding', () => {
  const holder = new PortHolder(() => {
    throw new SkeinError('unimplemented', 'socket: EPROTONOSUPPORT');
  });
  assert.deepEqual(holder.hold(new Set(['sctp/80'])), []);
  assert.equal(holder.notHeld.size, 0);
});
