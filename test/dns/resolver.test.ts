/** The real process in real namespaces: asked over UDP and TCP, fed, killed, replaced, asked on. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { decode, encode } from 'dns-packet';
import { ResolverFeed } from '../../src/dns/feed.ts';
import { Forwarder, framed } from '../../src/dns/forward.ts';
import { type DnsRecord, sandboxKey } from '../../src/dns/records.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { createNetns, removeNetns } from '../../src/kit/netns.ts';
import { runProcess } from '../../src/kit/process.ts';
import { until } from '../../src/lab/cluster.ts';
import type { ContainerId, Ipv4, NetworkId, ServiceId } from '../../src/model/ids.ts';
import { RESOLVER } from '../../src/model/network-view.ts';
import { hang } from '../hang.ts';

const root = mkdtempSync(join(tmpdir(), 'skein-dns-'));
const NET = 'net' as NetworkId;
const netns = (n: number) => join(root, `netns-${n}`);
const box = (n: number): [string, DnsRecord] => {
  const id = `box${n}` as ContainerId;
  const record: DnsRecord = {
    kind: 'sandbox',
    id,
    netnsPath: netns(n),
    networks: [NET],
    servers: [],
    forward: false,
  };
  return [sandboxKey(id), record];
};
const records: [string, DnsRecord][] = [
  ['network', { kind: 'network', id: NET, name: 'net' }],
  [
    'web',
    {
      kind: 'service',
      id: 'web' as ServiceId,
      networkId: NET,
      name: 'web',
      aliases: [],
      virtualIp: '10.0.1.2' as Ipv4,
    },
  ],
];
const open = (version = '1', hungMs?: number) =>
  new ResolverFeed({
    ...(hungMs && { hungMs }),
    runRoot: root,
    logFile: join(root, 'log'),
    version,
    clock: systemClock,
    log: silentLog,
  });

let feed: ResolverFeed;

before(async () => {
  for (const n of [1, 2]) {
    createNetns(netns(n));
    await runProcess(['nsenter', `--net=${netns(n)}`, 'ip', 'link', 'set', 'lo', 'up']);
  }
  feed = open();
  assert.deepEqual(await feed.set({ put: new Map([...records, box(1), box(2)]), delete: [] }), []);
});
after(async () => {
  await feed.remove();
  for (const n of [1, 2, 3]) removeNetns(netns(n));
  rmSync(root, { recursive: true, force: true });
});

const question = (name: string, type: 'A' | 'AAAA' = 'A') =>
  encode({ type: 'query', id: 99, flags: 0x0100, questions: [{ name, type }] });

/** Asks `times` times from inside a sandbox, as its translation would lead there; prints what came. */
const ASKER = `
const { createSocket } = require('node:dgram');
const [question, times, ms] = [Buffer.from(process.argv[1], 'base64'), Number(process.argv[2]), Number(process.argv[3])];
const answers = [];
const once = () => new Promise((resolve) => {
  const socket = createSocket('udp4');
  const end = (bytes) => { clearTimeout(timer); socket.close(); answers.push(bytes ? bytes.toString('base64') : null); resolve(); };
  const timer = setTimeout(end, ms);
  socket.once('error', () => end());
  socket.once('message', end);
  socket.send(question, ${RESOLVER.listens}, '${RESOLVER.address}');
});
(async () => {
  for (let i = 0; i < times; i++) await once();
  process.stdout.write(JSON.stringify(answers));
})();
`;

async function repliesTo(n: number, query: Buffer, times: number, ms = 10_000) {
  const argv = [process.execPath, '-e', ASKER, query.toString('base64'), String(times), String(ms)];
  const { stdout } = await runProcess(['nsenter', `--net=${netns(n)}`, ...argv], { timeoutMs: 60_000 });
  return (JSON.parse(stdout) as (string | null)[]).map((answer) =>
    answer === null ? undefined : decode(Buffer.from(answer, 'base64')),
  );
}

const askUdp = async (n: number, query: Buffer) => (await repliesTo(n, query, 1))[0]!;

async function askTimes(
  n: number,
  name: string,
  times: number,
  ms?: number,
): Promise<(string[] | undefined)[]> {
  const replies = await repliesTo(n, question(name), times, ms);
  return replies.map((reply) => reply?.answers!.map((a) => (a as { data: string }).data));
}

const ask = async (n: number, name: string, ms?: number): Promise<string[] | undefined> =>
  (await askTimes(n, name, 1, ms))[0];

test('it is asked inside each sandbox', async () => {
  assert.deepEqual(await ask(1, 'web'), ['10.0.1.2']);
  assert.deepEqual(await ask(2, 'web'), ['10.0.1.2']);
});

test('a change is in force when it is acknowledged', async () => {
  for (let i = 3; i < 13; i++) {
    const record: DnsRecord = { ...records[1]![1], virtualIp: `10.0.1.${i}` as Ipv4 } as DnsRecord;
    await feed.set({ put: new Map([['web', record]]), delete: [] });
    assert.deepEqual(await ask(1, 'web'), [`10.0.1.${i}`]);
  }
  await feed.set({ put: new Map(records), delete: [] });
});

test('a sandbox that can not be listened in is named, and the others are served', async () => {
  const failed = await feed.set({ put: new Map([box(3)]), delete: [] });
  assert.deepEqual(
    failed.map((f) => f.id),
    ['box3'],
  );
  await feed.set({ put: new Map(), delete: [box(3)[0]] });
  assert.deepEqual(await ask(1, 'web'), ['10.0.1.2']);
});

test('a removed sandbox is let go: nothing listens there any more', async () => {
  const ports = async () => (await runProcess(['nsenter', `--net=${netns(2)}`, 'ss', '-Hlun'])).stdout;
  assert.match(await ports(), /127\.0\.0\.11:65053/);
  await feed.set({ put: new Map(), delete: [box(2)[0]] });
  assert.equal(await ports(), '');
  await feed.set({ put: new Map([box(2)]), delete: [] });
  assert.deepEqual(await ask(2, 'web'), ['10.0.1.2']);
});

test('it answers while skeind is away, and takes the whole from the next one', async () => {
  await feed.close();
  assert.deepEqual(await ask(1, 'web'), ['10.0.1.2']);
  feed = open();
  const { pid } = feed;
  await feed.set({ put: new Map([records[0]!, box(1)]), delete: [] });
  assert.equal(feed.pid, pid, 'the same process');
  assert.deepEqual(await ask(1, 'web'), [], 'what the new one did not say is gone');
  await feed.set({ put: new Map([...records, box(2)]), delete: [] });
});

test('killed, it is back by itself with everything', async () => {
  const { pid } = feed;
  process.kill(pid!, 'SIGKILL');
  await until(
    'the next resolver to answer',
    async () => (await ask(1, 'web', 1_000))?.[0] === '10.0.1.2' || 'nothing',
    {
      timeoutMs: 30_000,
    },
  );
  assert.notEqual(feed.pid, pid);
  assert.deepEqual(await ask(2, 'web'), ['10.0.1.2']);
});

test('one that hangs is killed, and the next one has everything', async (t) => {
  await feed.close();
  feed = open('1', 1500);
  await feed.set({ put: new Map([...records, box(1), box(2)]), delete: [] });
  const { pid } = feed;
  await hang(t, pid!);
  await feed.set({ put: new Map(), delete: [] }); // in force when there is one that answers
  assert.notEqual(feed.pid, pid);
  assert.deepEqual(await ask(2, 'web'), ['10.0.1.2']);
  await feed.close();
  feed = open();
  await feed.set({ put: new Map([...records, box(1), box(2)]), delete: [] });
});

test('another version takes over without a question lost', async () => {
  const asking = askTimes(1, 'web', 2_000);
  const old = feed.pid!;
  await feed.close();
  feed = open('2');
  await feed.set({ put: new Map([...records, box(1), box(2)]), delete: [] });
  await until('the old one to end', async () => !existsSync(`/proc/${old}`) || 'it runs', {
    timeoutMs: 30_000,
  });
  const answers = await asking;
  assert.equal(answers.filter((a) => a?.[0] !== '10.0.1.2').length, 0);
});

/** Asks several questions on one connection from inside a sandbox. */
async function askOverTcp(n: number, ...questions: Buffer[]) {
  const script = `
    const socket = require('node:net').connect(${RESOLVER.listens}, '${RESOLVER.address}');
    socket.write(Buffer.from(process.argv[1], 'base64'));
    let got = Buffer.alloc(0);
    const frames = () => {
      let count = 0;
      for (let at = 0; at + 2 <= got.length && at + 2 + got.readUInt16BE(at) <= got.length; count++)
        at += 2 + got.readUInt16BE(at);
      return count;
    };
    socket.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      if (frames() < ${questions.length}) return;
      process.stdout.write(got.toString('base64'));
      process.exit(0);
    });
    setTimeout(() => process.exit(1), 20_000);`;
  const bytes = Buffer.concat(questions.map(framed)).toString('base64');
  const argv = [process.execPath, '-e', script, bytes];
  const { stdout } = await runProcess(['nsenter', `--net=${netns(n)}`, ...argv]);
  return framesOf(Buffer.from(stdout, 'base64')).map((frame) => decode(frame));
}

test('over TCP too, several questions on one connection', async () => {
  const [a, aaaa] = await askOverTcp(1, question('web'), question('web', 'AAAA'));
  assert.equal((a!.answers![0] as { data: string }).data, '10.0.1.2');
  assert.deepEqual([aaaa!.answers, (aaaa as { rcode?: string }).rcode], [[], 'NOERROR']);
});

function framesOf(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (
    let at = 0;
    at + 2 <= bytes.length && at + 2 + bytes.readUInt16BE(at) <= bytes.length;
    at += 2 + bytes.readUInt16BE(at)
  )
    frames.push(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)));
  return frames;
}

test('an answer of many addresses: cut and said to be over UDP, whole with EDNS, whole over TCP; kept for a second', async () => {
  const COUNT = 60;
  const tasks = Array.from({ length: COUNT }, (_, i): [string, DnsRecord] => [
    `task${i}`,
    {
      ...{ kind: 'endpoint', networkId: NET, serviceId: 'web' as ServiceId, inRotation: true },
      ...{ address: `10.0.1.${100 + i}` as Ipv4, names: [`web.${i}`] },
    },
  ]);
  await feed.set({ put: new Map(tasks), delete: [] });
  const opt = { type: 'OPT' as const, name: '.' as const, udpPayloadSize: 1232, flags: 0, options: [] };
  const [plain, large] = [[], [opt]].map((additionals) =>
    encode({
      ...{ type: 'query', id: 5, flags: 0x0100, additionals: additionals as never },
      questions: [{ name: 'tasks.web', type: 'A' }],
    }),
  ) as [Buffer, Buffer];
  const [cut, whole] = [await askUdp(1, plain), await askUdp(1, large)];
  const [overTcp] = await askOverTcp(1, plain);
  assert.ok(cut.flag_tc && cut.answers!.length > 20 && cut.answers!.length < COUNT);
  assert.deepEqual([whole.flag_tc, whole.answers!.length], [false, COUNT]);
  assert.deepEqual([overTcp!.flag_tc, overTcp!.answers!.length], [false, COUNT]);
  for (const answer of whole.answers!) assert.equal((answer as { ttl: number }).ttl, 1);
  assert.equal(new Set(whole.answers!.map((answer) => (answer as { data: string }).data)).size, COUNT);
  await feed.set({ put: new Map(), delete: tasks.map(([key]) => key) });
});

test('questions for the world go to the servers in turn, and an answer only counts from the one that was asked', async (t) => {
  const upstream = createSocket('udp4');
  t.after(() => upstream.close());
  await new Promise<void>((resolve) => upstream.bind(0, '127.0.0.1', resolve));
  const { port } = upstream.address();
  const ids = new Set<number>();
  upstream.on('message', (bytes, from) => {
    ids.add(bytes.readUInt16BE(0));
    const reply = encode({
      type: 'response',
      id: bytes.readUInt16BE(0),
      questions: decode(bytes).questions!,
      answers: [{ type: 'A', name: 'example.org', data: '203.0.113.5' }],
    });
    const otherId = Buffer.from(reply);
    otherId.writeUInt16BE((bytes.readUInt16BE(0) + 1) & 0xffff, 0);
    const otherQuestion = encode({
      type: 'response',
      id: bytes.readUInt16BE(0),
      questions: [{ type: 'A', name: 'example.net' }],
      answers: [{ type: 'A', name: 'example.net', data: '203.0.113.66' }],
    });
    const ownQuestion = Buffer.from(bytes); // which is no answer
    for (const packet of [otherId, otherQuestion, ownQuestion, reply])
      upstream.send(packet, from.port, from.address);
  });
  const conf = join(root, 'resolv.conf');
  writeFileSync(conf, 'search x\nnameserver 127.0.0.9\nnameserver 127.0.0.1\n');
  const forwarder = new Forwarder({ resolvConf: conf, port, tryMs: 5_000 });
  for (let i = 0; i < 5; i++) {
    const answered = await forwarder.ask(question('example.org'), { asker: 'c', servers: [], over: 'udp' });
    assert.equal(decode(answered!).id, 99);
    assert.equal((decode(answered!).answers![0] as { data: string }).data, '203.0.113.5');
  }
  assert.ok(ids.size > 1, 'each under an id of its own');
  assert.equal(
    await forwarder.ask(question('example.org'), { asker: 'c', servers: ['127.0.0.9'], over: 'udp' }),
    undefined,
  );
  writeFileSync(conf, '');
});

test('a server that can not be reached, or can not say, is passed over; the question ends at once when nobody can', async (t) => {
  const refusing = createSocket('udp4');
  t.after(() => refusing.close());
  await new Promise<void>((resolve) => refusing.bind(0, '127.0.0.1', resolve));
  const { port } = refusing.address();
  const knowing = createSocket('udp4');
  t.after(() => knowing.close());
  await new Promise<void>((resolve) => knowing.bind(port, '127.0.0.2', resolve));
  const answers = (socket: typeof refusing, flags: number) =>
    socket.on('message', (bytes, from) => {
      const { id, questions } = decode(bytes);
      socket.send(
        encode({ type: 'response', id: id!, flags, questions: questions! }),
        from.port,
        from.address,
      );
    });
  answers(refusing, 5);
  answers(knowing, 3);
  const forwarder = new Forwarder({ port, tryMs: 60_000 });
  const rcode = async (...servers: string[]) =>
    (await forwarder.ask(question('example.org'), { asker: 'c', servers, over: 'udp' }))?.[3];
  const start = performance.now();
  // Not a unicast address, so that the connection itself fails; nobody listens on the second.
  assert.equal(await rcode('255.255.255.255', '127.0.0.3', '127.0.0.2'), 3);
  assert.equal(await rcode('127.0.0.1', '127.0.0.2'), 3);
  assert.equal(await rcode('127.0.0.1'), 5, 'a refusal is better than nothing');
  assert.equal(await rcode('255.255.255.255', 'nonsense'), undefined);
  assert.ok(performance.now() - start < 30_000);
});

test('one asker can not take every question that may be out', async (t) => {
  const silent = createSocket('udp4');
  t.after(() => silent.close());
  await new Promise<void>((resolve) => silent.bind(0, '127.0.0.1', resolve));
  const forwarder = new Forwarder({ port: silent.address().port, tryMs: 300, maxEach: 2 });
  const seen = new Set<string>();
  silent.on('message', (bytes) => seen.add(decode(bytes).questions![0]!.name));
  const ask = (asker: string, name: string) =>
    forwarder.ask(question(name), { asker, servers: ['127.0.0.1'], over: 'udp' });
  const heard = (name: string) =>
    until(`${name} to be heard`, async () => seen.has(name) || [...seen].join(), { timeoutMs: 20_000 });
  await Promise.all([...['a', 'b', 'c', 'd'].map((name) => ask('greedy', name)), ask('other', 'e')]);
  for (const name of ['a', 'b', 'e']) await heard(name);
  assert.deepEqual([...seen].sort(), ['a', 'b', 'e']);
  await ask('greedy', 'f');
  await heard('f'); // what has ended counts no more
});
