/** What every ContainerRuntime does: run against the fake here, against containerd in test/containerd. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { ContainerSpec } from '../model/spec.ts';
import { collectOutput, type ExecConfig } from './process.ts';
import {
  ALL_OUTPUT,
  type ContainerConfig,
  type ContainerEvent,
  type ContainerInfo,
  type ContainerRuntime,
  type LogLine,
  type LogQuery,
} from './runtime.ts';

const UNREADABLE = {
  code: 'unimplemented',
  message: 'configured logging driver does not support reading',
};

/** Prints `out 1` to `out 3` and `err 1`, ends with 7. */
export const TALKS = ['/bin/sh', '-c', 'echo out 1; echo out 2; echo err 1 >&2; echo out 3; exit 7'];

/** Gives its input back on stdout, prints `err` on stderr, ends with 3. */
export const ECHOES = ['/bin/sh', '-c', 'cat; echo err >&2; exit 3'];
/** Runs until its input ends, or it is killed. */
const WAITS = ['/bin/cat'];

export interface RuntimeHarness {
  readonly runtime: ContainerRuntime;
  /** Name of an image that is there and runs until killed. */
  readonly image: string;
  readonly netnsPath: string;
  newId(): ContainerId;
  close(): Promise<void>;
}

const everything: LogQuery = { ...ALL_OUTPUT, follow: true };

export function runtimeContract(name: string, open: () => Promise<RuntimeHarness>): void {
  describe(`${name} as ContainerRuntime`, () => {
    let harness: RuntimeHarness;
    before(async () => {
      harness = await open();
    });
    after(() => harness.close());

    const config = (spec: Partial<ContainerSpec> = {}): ContainerConfig => ({
      id: harness.newId(),
      name: 'web.1.x',
      image: harness.image,
      spec: { Image: harness.image, ...spec },
      limits: undefined,
      hostname: 'h1',
      netnsPath: harness.netnsPath,
      files: {},
      labels: { 'com.docker.swarm.task.id': 'x' },
    });

    const lines = async (id: ContainerId, query: Partial<LogQuery> = {}): Promise<LogLine[]> => {
      const result: LogLine[] = [];
      const signal = AbortSignal.timeout(60_000);
      for await (const line of harness.runtime.logs(id, { ...everything, ...query }, signal))
        result.push(line);
      assert.ok(!signal.aborted, 'the log did not end');
      return result;
    };
    const text = (line: LogLine): string => Buffer.from(line.data).toString();

    /** Collects events until one satisfies the test. */
    const eventsUntil = async (act: () => Promise<unknown>, done: (event: ContainerEvent) => boolean) => {
      const seen: ContainerEvent[] = [];
      const signal = AbortSignal.timeout(60_000);
      for await (const event of harness.runtime.events(signal)) {
        if (seen.push(event) === 1) await act();
        if (done(event)) return seen;
      }
      return assert.fail(`no such event among ${JSON.stringify(seen)}`);
    };

    test('a container is created, started, killed and removed; each step shows in list', async () => {
      const { runtime } = harness;
      const wanted = config();
      const made = await runtime.create(wanted);
      const created = await runtime.get(wanted.id);
      assert.equal(created?.status, 'created');
      assert.equal(created.pid, 0);
      assert.deepEqual(created.labels, wanted.labels);
      const asKept = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
      assert.deepEqual(asKept(created.config), asKept(wanted));
      assert.deepEqual(asKept(made), asKept(created), 'what create gives is what is there');
      const pid = await runtime.start(wanted.id);
      assert.ok(pid > 0);
      assert.equal(await runtime.start(wanted.id), pid, 'started twice is started once');
      const running = (await runtime.list()).find((info) => info.id === wanted.id);
      assert.deepEqual([running?.status, running?.pid], ['running', pid]);
      await eventsUntil(
        () => runtime.kill(wanted.id, 'SIGKILL'),
        (event) => event.type === 'exit' && event.id === wanted.id && event.exitCode === 137,
      );
      const stopped = await runtime.get(wanted.id);
      assert.deepEqual([stopped?.status, stopped?.exitCode, stopped?.pid], ['stopped', 137, 0]);
      assert.match(stopped?.exitedAt ?? '', /^\d{4}-.*Z$/);
      await runtime.kill(wanted.id, 'TERM');
      await runtime.remove(wanted.id);
      await runtime.remove(wanted.id);
      await runtime.kill(wanted.id, 9);
      assert.equal(await runtime.get(wanted.id), undefined);
    });

    test('without a log the output goes nowhere, and who asks for it is told', async () => {
      const { runtime } = harness;
      for (const TTY of [false, true]) {
        const wanted = { ...config({ Command: TALKS, TTY }), logging: { Name: 'none' } };
        await runtime.create(wanted);
        await eventsUntil(
          () => runtime.start(wanted.id),
          (event) => event.type === 'exit' && event.id === wanted.id && event.exitCode === 7,
        );
        await assert.rejects(lines(wanted.id), UNREADABLE);
        await assert.rejects(lines(wanted.id, { attached: true }), UNREADABLE);
        await runtime.remove(wanted.id);
      }
    });

    test('a container of one’s own without a log shows its output to who is attached, and to nobody else', async () => {
      const { runtime } = harness;
      const wanted = { ...config({ Command: TALKS }), logging: { Name: 'none' }, restartable: true };
      await runtime.create(wanted);
      await runtime.start(wanted.id);
      const seen = await lines(wanted.id, { attached: true, follow: true });
      assert.deepEqual(seen.map(text).sort(), ['err 1\n', 'out 1\n', 'out 2\n', 'out 3\n']);
      await assert.rejects(lines(wanted.id), UNREADABLE);
      await runtime.remove(wanted.id);
    });

    test('what cannot be is refused: no image, the same id twice, no such signal, no such container', async () => {
      const { runtime } = harness;
      await assert.rejects(runtime.create({ ...config(), image: 'absent:1' }), {
        code: 'not-found',
        message: 'No such image: absent:1',
      });
      const wanted = config();
      await runtime.create(wanted);
      await assert.rejects(runtime.create(wanted), { code: 'already-exists' });
      await assert.rejects(runtime.kill(wanted.id, 'SIGNOT'), { code: 'invalid-argument' });
      await runtime.remove(wanted.id);
      await assert.rejects(runtime.start(wanted.id), { code: 'not-found' });
    });

    test('its namespace is made while it is half made, then furnished; where either fails, nothing of it stays', async () => {
      const { runtime } = harness;
      const wanted = config();
      const failed = new SkeinError('unavailable', 'no namespace');
      for (const what of ['namespace', 'surroundings']) {
        const fails = runtime.create(wanted, { [what]: () => Promise.reject(failed) });
        await assert.rejects(fails, { code: 'unavailable', message: 'no namespace' });
        assert.equal(await runtime.get(wanted.id), undefined);
      }
      const seen: (string | undefined)[] = [];
      let furnished = false;
      const made = await runtime.create(wanted, {
        namespace: async () => void seen.push((await runtime.get(wanted.id))?.status),
        surroundings: async () => {
          seen.push('surroundings');
          for (let turns = 0; turns < 100; turns++) await new Promise((resolve) => setImmediate(resolve));
          furnished = true;
        },
      });
      assert.deepEqual([seen, made.status, furnished], [['unknown', 'surroundings'], 'created', true]);
      await runtime.remove(wanted.id);
    });

    test('events begin with resync and tell start, exit code and removal', async () => {
      const { runtime } = harness;
      const wanted = config({ Command: TALKS });
      let made: ContainerInfo | undefined;
      const seen = await eventsUntil(
        async () => {
          made = await runtime.create(wanted);
          await runtime.start(wanted.id);
          await lines(wanted.id);
          await runtime.remove(wanted.id);
        },
        (event) => event.type === 'delete' && event.id === wanted.id,
      );
      assert.equal(seen[0]?.type, 'resync');
      const own = seen.filter((event) => event.type !== 'resync' && event.id === wanted.id);
      assert.deepEqual(
        own.map((event) => event.type),
        ['create', 'start', 'exit', 'delete'],
      );
      assert.deepEqual(own[0], { type: 'create', id: wanted.id, info: made });
      assert.ok(own.some((event) => event.type === 'exit' && event.exitCode === 7));
    });

    test('a running container is removed with what it runs', async () => {
      const { runtime } = harness;
      const wanted = config();
      await runtime.create(wanted);
      await runtime.start(wanted.id);
      await runtime.remove(wanted.id);
      assert.equal(await runtime.get(wanted.id), undefined);
    });

    test('output: both streams, the last lines, since and until; follow ends with the container', async () => {
      const { runtime } = harness;
      const wanted = config({ Command: TALKS });
      await runtime.create(wanted);
      const following = lines(wanted.id);
      await runtime.start(wanted.id);
      const all = await following;
      const out = all.filter((line) => line.stream === 'stdout').map(text);
      assert.deepEqual(out, ['out 1\n', 'out 2\n', 'out 3\n']);
      assert.deepEqual(all.filter((line) => line.stream === 'stderr').map(text), ['err 1\n']);
      const again = await lines(wanted.id, { follow: false });
      assert.deepEqual(again.map(text), all.map(text), 'read again, it is the same');
      assert.deepEqual((await lines(wanted.id, { tail: 2, stderr: false })).map(text), [
        'out 2\n',
        'out 3\n',
      ]);
      assert.deepEqual((await lines(wanted.id, { tail: 0 })).map(text), []);
      const { time } = all.at(-1)!;
      assert.ok((await lines(wanted.id, { since: time })).map(text).includes(text(all.at(-1)!)));
      assert.deepEqual(await lines(wanted.id, { until: '2001-01-01T00:00:00Z' }), []);
      await runtime.remove(wanted.id);
      await assert.rejects(lines(wanted.id), { code: 'not-found' });
    });

    const execConfig = (args: readonly string[], more: Partial<ExecConfig> = {}): ExecConfig => ({
      ...{ args, env: [], cwd: '', user: '', tty: false, privileged: false, stdin: true, output: true },
      ...more,
    });

    test('exec: input, both outputs apart, the exit code; a kill; nothing in a container that does not run', async () => {
      const { runtime } = harness;
      const wanted = config();
      await runtime.create(wanted);
      await assert.rejects(runtime.exec(wanted.id, execConfig(ECHOES)), {
        code: 'failed-precondition',
        message: `container ${wanted.id} is not running`,
      });
      await runtime.start(wanted.id);
      const echo = await runtime.exec(wanted.id, execConfig(ECHOES));
      assert.ok(echo.pid > 0);
      echo.stdin!.write('in 1\n');
      echo.stdin!.end('in 2\n');
      assert.deepEqual(await collectOutput(echo, 1000), {
        exitCode: 3,
        stdout: 'in 1\nin 2\n',
        stderr: 'err\n',
      });
      const waits = await runtime.exec(wanted.id, execConfig(WAITS));
      await waits.kill('TERM');
      assert.deepEqual(await collectOutput(waits, 1000), { exitCode: 143, stdout: '', stderr: '' });
      await waits.kill('TERM');
      assert.equal((await runtime.get(wanted.id))?.status, 'running', 'the container is not touched');
      const silent = await runtime.exec(wanted.id, execConfig(ECHOES, { stdin: false, output: false }));
      assert.deepEqual([silent.stdin, silent.stdout, silent.stderr], [undefined, undefined, undefined]);
      assert.equal(await silent.exit, 3);
      await runtime.remove(wanted.id);
      await assert.rejects(runtime.exec(wanted.id, execConfig(ECHOES)), { code: 'not-found' });
    });

    test('restartable: made without a process, started, ended, started again on the same root', async () => {
      const { runtime } = harness;
      const wanted = { ...config({ Command: TALKS }), restartable: true, notes: { mine: 1 } };
      await runtime.create(wanted);
      const made = await runtime.get(wanted.id);
      assert.deepEqual(
        [made?.status, made?.startedAt, made?.config.notes],
        ['created', undefined, { mine: 1 }],
      );
      for (const count of [1, 2]) {
        await eventsUntil(
          () => runtime.start(wanted.id),
          (event) => event.type === 'exit' && event.id === wanted.id && event.exitCode === 7,
        );
        const ended = await runtime.get(wanted.id);
        assert.deepEqual([ended?.status, ended?.exitCode], ['stopped', 7]);
        assert.match(ended?.startedAt ?? '', /^\d{4}-.*Z$/);
        const out = (await lines(wanted.id)).filter((line) => line.stream === 'stdout');
        assert.equal(out.length, 3 * count, 'the output of each life is kept');
      }
      await runtime.remove(wanted.id);
    });

    test('restartable: who looks while it is being started sees no end of it', async () => {
      const { runtime } = harness;
      const wanted = { ...config(), restartable: true };
      await runtime.create(wanted);
      const seen = new Set<string | undefined>();
      let starts = true;
      const started = runtime.start(wanted.id).finally(() => (starts = false));
      while (starts) {
        seen.add((await runtime.get(wanted.id))?.status);
        seen.add((await runtime.list()).find(({ id }) => id === wanted.id)?.status);
      }
      await started;
      assert.deepEqual(
        [...seen].filter((status) => status !== 'created' && status !== 'running'),
        [],
      );
      await runtime.remove(wanted.id);
    });

    test('of changes at the same time each is made', async () => {
      const { runtime } = harness;
      const wanted = { ...config(), restartable: true };
      await runtime.create(wanted);
      const limits = { MemoryBytes: 64 * 1024 * 1024 };
      const changes = [{ name: 'other' }, { notes: { mine: 2 } }, { limits }];
      await Promise.all(changes.map((change) => runtime.update(wanted.id, change)));
      const found = (await runtime.get(wanted.id))!;
      assert.deepEqual([found.name, found.config.notes, found.config.limits], ['other', { mine: 2 }, limits]);
      await runtime.remove(wanted.id);
    });

    test('input of the container itself; pause and resume; its pids', async () => {
      const { runtime } = harness;
      const wanted = config({ Command: ECHOES, OpenStdin: true });
      await runtime.create(wanted);
      await assert.rejects(runtime.pids(wanted.id), { code: 'failed-precondition' });
      assert.equal(await runtime.usage(wanted.id), undefined);
      const pid = await runtime.start(wanted.id);
      assert.ok((await runtime.pids(wanted.id)).includes(pid));
      assert.ok((await runtime.usage(wanted.id))!.pids > 0);
      await runtime.pause(wanted.id);
      assert.equal((await runtime.get(wanted.id))?.status, 'paused');
      await runtime.resume(wanted.id);
      assert.equal((await runtime.get(wanted.id))?.status, 'running');
      const stdin = await runtime.stdin(wanted.id);
      await eventsUntil(
        async () => stdin.end('typed\n'),
        (event) => event.type === 'exit' && event.id === wanted.id && event.exitCode === 3,
      );
      assert.deepEqual((await lines(wanted.id)).filter((l) => l.stream === 'stdout').map(text), ['typed\n']);
      await runtime.remove(wanted.id);
      const closed = config();
      await runtime.create(closed);
      await runtime.start(closed.id);
      await assert.rejects(runtime.stdin(closed.id), { code: 'failed-precondition' });
      await runtime.remove(closed.id);
    });

    test('volumes: made by hand or with a container, kept while one refers to them, anonymous ones go with it', async () => {
      const { runtime } = harness;
      const { volumes } = runtime;
      const made = await volumes.create({ name: 'kept', labels: { a: '1' }, options: null });
      assert.deepEqual([made.labels, made.options], [{ a: '1' }, null]);
      assert.deepEqual(await volumes.create({ ...made, labels: null }), made, 'it stays as it was made');
      const wanted = config({
        Mounts: [
          { Type: 'volume', Source: 'kept', Target: '/kept', ReadOnly: true },
          { Type: 'volume', Source: 'new', Target: '/new', VolumeOptions: { Labels: { b: '2' } } },
          { Type: 'volume', Target: '/own' },
        ],
      });
      await runtime.create(wanted);
      const { mounts } = (await runtime.get(wanted.id))!;
      const own = mounts.find(({ target }) => target === '/own')!;
      assert.deepEqual(
        mounts.slice(0, 3).map(({ name, target, readOnly }) => [name, target, readOnly]),
        [
          ['kept', '/kept', true],
          ['new', '/new', false],
          [own.name, '/own', false],
        ],
      );
      assert.deepEqual([(await volumes.get('new'))?.labels, own.anonymous], [{ b: '2' }, true]);
      assert.deepEqual((await volumes.get(own.name!))?.labels, { 'com.docker.volume.anonymous': '' });
      await assert.rejects(volumes.remove('kept'), {
        code: 'failed-precondition',
        message: `remove kept: volume is in use - [${wanted.id}]`,
      });
      await runtime.remove(wanted.id, { keepVolumes: true });
      assert.ok((await volumes.list()).some(({ name }) => name === own.name));
      await volumes.remove(own.name!);
      await runtime.create(wanted);
      await runtime.remove(wanted.id);
      assert.equal(await volumes.get(own.name!), undefined);
      for (const name of ['kept', 'new']) await volumes.remove(name);
      await assert.rejects(volumes.remove('kept'), {
        code: 'not-found',
        message: 'get kept: no such volume',
      });
      await assert.rejects(volumes.create({ name: 'a/b', labels: null, options: null }), {
        code: 'invalid-argument',
      });
    });

    test('an image is found by name, id and prefix; removal follows the rules of Docker', async () => {
      const { runtime, image } = harness;
      const info = await runtime.images.get(image);
      assert.ok(info);
      const hex = info.id.slice('sha256:'.length);
      for (const reference of [info.id, hex, hex.slice(0, 12)])
        assert.equal((await runtime.images.get(reference))?.id, info.id);
      assert.equal(await runtime.images.get('absent'), undefined);
      const local = await runtime.images.local(image);
      assert.deepEqual([local?.id, local?.config], [info.id, info.config]);
      assert.equal(await runtime.images.local('absent'), undefined);
      await runtime.images.tag(image, 'other:2');
      assert.deepEqual((await runtime.images.get('other:2'))?.tags, [image, 'other:2'].sort());
      await assert.rejects(runtime.images.remove(hex.slice(0, 12), {}), {
        message:
          /^conflict: unable to delete [0-9a-f]{12} \(must be forced\) - image is referenced in multiple repositories$/,
      });
      const result = await runtime.images.remove('other:2', {});
      assert.deepEqual(result, { id: info.id, untagged: ['other:2'], deleted: [] });
      const user = config();
      await runtime.create(user);
      await assert.rejects(runtime.images.remove(image, {}), {
        code: 'failed-precondition',
        message:
          /^conflict: unable to remove repository reference ".*" \(must force\) - container [0-9a-f]{12} is using/,
      });
      await runtime.remove(user.id);
      await assert.rejects(runtime.images.remove('absent', {}), {
        code: 'not-found',
        message: 'No such image: absent',
      });
      await assert.rejects(runtime.images.tag('absent', 'x:1'), { code: 'not-found' });
    });

    test('what is no image is refused', async () => {
      async function* noise(): AsyncIterable<Uint8Array> {
        yield Buffer.from('this is no archive, '.repeat(200));
      }
      await assert.rejects(harness.runtime.images.load(noise()), { code: 'invalid-argument' });
    });
  });
}
