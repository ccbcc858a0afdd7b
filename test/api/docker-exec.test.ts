/**
 * The stock docker CLI's `exec` against the API with fake containers behind it. What the command in the container does
 * is played by the test; real processes are in test/containerd/exec.test.ts. Skipped, in words, without the CLI.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { SkeinError } from '../../src/model/errors.ts';
import { skipWithoutDocker as skip } from '../docker.ts';
import { fakeContainers, finished, id } from './fake-containers.ts';

const { api, backends, docker, lastExec, socket, start } = fakeContainers();

test('outputs come apart, the exit code is the command’s', { skip }, async () => {
  const { code, stdout, stderr } = await docker(
    'exec',
    '-e',
    'A=1',
    '-w',
    '/tmp',
    '-u',
    'web',
    'web',
    'both',
  );
  assert.deepEqual([code, stdout, stderr], [5, 'to out\n', 'to err\n']);
  const { env: given, cwd, user, stdin, tty } = lastExec().config;
  assert.deepEqual([given, cwd, user, stdin, tty], [['A=1'], '/tmp', 'web', false, false]);
});

test(
  'input goes in to its end; large input and output arrive whole',
  { skip, timeout: 240_000 },
  async () => {
    const child = start('docker', 'exec', '-i', 'web', 'cat');
    const done = finished(child);
    const input = Buffer.alloc(20_000_000, 'skein');
    child.stdin!.end(input);
    const { code, out, stderr } = await done;
    const hash = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    assert.deepEqual([code, out.length, hash(out)], [0, input.length, hash(input)], stderr);
    const much = await docker('exec', 'web', 'much');
    assert.deepEqual([much.code, much.out.length], [0, 20_000_000]);
  },
);

test('a terminal: raw bytes, its size, keys as they are typed', { skip, timeout: 120_000 }, async () => {
  const child = start('script', '-qec', 'stty rows 44 cols 133; docker exec -it web shell', '/dev/null');
  child.stdout!.on('data', (chunk: Buffer) => {
    if (chunk.includes('prompt>')) child.stdin!.write('hello\r');
  });
  const { code, stdout } = await finished(child);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /prompt> HELLO/);
  assert.deepEqual(lastExec().sizes[0], { height: 44, width: 133 });
});

test('detached: it runs on and is asked about', { skip }, async () => {
  const { code, stdout, stderr } = await docker('exec', '-d', 'web', 'sleep');
  assert.deepEqual([code, stdout], [0, ''], stderr);
  assert.deepEqual([lastExec().config.output, lastExec().config.stdin], [false, false]);
});

test('what cannot run: the reason and Docker’s exit codes', { skip }, async () => {
  const words = 'OCI runtime exec failed: exec failed: exec: "nosuch": executable file not found in $PATH';
  backends.runtime.fail('exec', new SkeinError('invalid-argument', words));
  const missing = await docker('exec', 'web', 'nosuch');
  assert.deepEqual([missing.code, missing.stdout.trim()], [127, words]);
  const gone = await docker('exec', 'nosuch', 'both');
  assert.equal(gone.code, 1);
  assert.match(gone.stderr, /No such container: nosuch/);
  assert.match((await docker('exec', '-i', 'web')).stderr, /requires at least 2 arguments/);
});

/** A bare request on the socket; resolves with all that came when the server has closed its half. */
async function raw(head: string, body: object, ...later: string[]): Promise<string> {
  const client = connect(socket);
  const text = JSON.stringify(body);
  client.write(
    `${head}\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n\r\n`,
  );
  for (const part of [text, ...later]) {
    await new Promise((resolve) => setTimeout(resolve, 50)); // in a packet of its own
    client.write(part);
  }
  let seen = '';
  client.on('data', (chunk: Buffer) => (seen += chunk.toString('latin1')));
  client.on('end', () => client.end());
  await once(client, 'close');
  return seen;
}

async function made(args: string[], more: object = {}): Promise<string> {
  const attach = { AttachStdin: true, AttachStdout: true, AttachStderr: true };
  const answer = await api().inject({
    ...{ method: 'POST', url: '/containers/web/exec', payload: { Cmd: args, ...attach, ...more } },
  });
  assert.equal(answer.statusCode, 201, answer.body);
  return (JSON.parse(answer.body) as { Id: string }).Id;
}
const inspected = async (exec: string) =>
  JSON.parse((await api().inject({ url: `/exec/${exec}/json` })).body) as Record<string, unknown>;

test('without an Upgrade header: 200 and a raw stream that the end of the connection ends', async () => {
  const exec = await made(['both']);
  assert.deepEqual([(await inspected(exec))['Running'], (await inspected(exec))['ExitCode']], [false, null]);
  const answer = await raw(`POST /v1.41/exec/${exec}/start HTTP/1.1`, { Detach: false });
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(answer, /content-type: application\/vnd\.docker\.raw-stream\r\n/i);
  assert.doesNotMatch(answer, /transfer-encoding/i);
  assert.ok(
    answer.endsWith('\x01\0\0\0\0\0\0\x07to out\n\x02\0\0\0\0\0\0\x07to err\n'),
    JSON.stringify(answer),
  );
  const after = await inspected(exec);
  assert.deepEqual([after['Running'], after['ExitCode'], after['ContainerID']], [false, 5, id]);
  const again = await raw(`POST /exec/${exec}/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp`, {});
  assert.match(again, /^HTTP\/1\.1 409 /);
  assert.match(again, new RegExp(`Exec command ${exec} has already run`));
});

test('an upgrade whose body and input come in packets of their own', async () => {
  const exec = await made(['shell'], { Tty: true });
  const head = `POST /v1.47/exec/${exec}/start HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp`;
  const answer = await raw(head, { Tty: true, ConsoleSize: [20, 90] }, 'typed');
  assert.match(answer, /^HTTP\/1\.1 101 UPGRADED\r\nContent-Type: application\/vnd\.docker\.raw-stream\r\n/);
  assert.ok(answer.endsWith('\r\n\r\nprompt> TYPED'), JSON.stringify(answer));
  await api().inject({ method: 'POST', url: `/exec/${exec}/resize?h=30&w=100` });
  assert.deepEqual(lastExec().sizes[0], { height: 20, width: 90 });
});

test('a client that goes away ends the input, not the process; closing the server ends the streams', async () => {
  const exec = await made(['sleep']);
  const client = connect(socket);
  client.write(
    `POST /exec/${exec}/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}`,
  );
  await once(client, 'data');
  const { stdin } = lastExec();
  const ended = once(stdin, 'end');
  stdin.resume();
  client.destroy();
  await ended;
  assert.equal((await inspected(exec))['Running'], true);
  assert.equal((await api().inject({ url: '/exec/nosuch/json' })).statusCode, 404);
});
