import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Clock, VirtualClock } from './clock.ts';
import type { Log } from './log.ts';
import { type Daemon, Supervisor } from './supervisor.ts';

/** A daemon that answers after `delay` ms, with nothing at all when that is undefined. */
class FakeDaemon implements Daemon {
  readonly name = 'etcd';
  logFile = '/nowhere';
  readonly log: Log;
  readonly said: string[] = [];
  readonly kills: number[] = [];
  readonly clock: Clock;
  starts = 0;
  delay: number | undefined = 1;
  refuses = false;
  /** The next one answers. */
  healsByRestart = false;
  failure: Error | undefined;
  #pid: number | undefined = 1;

  constructor(clock: Clock) {
    this.clock = clock;
    const say = (message: string) => void this.said.push(message);
    this.log = { debug() {}, info: say, warn: say, error: say, with: () => this.log };
  }

  pid(): number | undefined {
    return this.#pid;
  }

  end(): void {
    this.#pid = undefined;
  }

  async start(): Promise<void> {
    this.starts++;
    if (this.failure) throw this.failure;
    this.#pid = this.starts + 1;
    if (this.healsByRestart) this.delay = 1;
  }

  answers(): Promise<boolean> {
    if (this.refuses) return Promise.resolve(false);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    if (this.delay !== undefined) this.clock.after(this.delay, () => resolve(true));
    return promise;
  }

  async kill(pid: number): Promise<void> {
    this.kills.push(pid);
    if (this.#pid === pid) this.end();
  }
}

function supervised(hungMs?: number, clock: Clock = new VirtualClock()) {
  const daemon = new FakeDaemon(clock);
  const supervisor = new Supervisor(daemon, { clock, log: daemon.log, hungMs });
  const stop = new AbortController();
  const run = () => supervisor.run(stop.signal);
  return { clock: clock as VirtualClock, daemon, supervisor, stop, run };
}

describe('supervisor', () => {
  test('one that has ended is started again, and tried again while it does not come up', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    await clock.advance(60_000);
    assert.deepEqual([daemon.starts, daemon.kills, daemon.said], [0, [], []], 'what is well is left alone');
    daemon.failure = new Error('no such file');
    daemon.end();
    await clock.advance(500);
    assert.equal(daemon.starts, 1);
    await clock.advance(60_000);
    assert.ok(daemon.starts > 5 && daemon.starts < 15, `with a backoff: ${daemon.starts} times in a minute`);
    daemon.failure = undefined;
    await clock.advance(10_000);
    assert.notEqual(daemon.pid(), undefined);
    const { starts } = daemon;
    daemon.end();
    await clock.advance(500);
    assert.equal(daemon.starts, starts + 1, 'the backoff is over');
    stop.abort();
    await running;
  });

  test('one that hangs is said to be silent, killed after thirty seconds and started again', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    await clock.advance(10_000);
    daemon.delay = undefined;
    daemon.healsByRestart = true;
    await clock.advance(29_000);
    assert.deepEqual(daemon.kills, []);
    assert.deepEqual(daemon.said, ['etcd does not answer; it is restarted when it goes on like this']);
    await clock.advance(7000); // it was asked up to 5 s after it fell silent
    assert.deepEqual([daemon.kills, daemon.starts], [[1], 1]);
    assert.equal(daemon.said[1], 'etcd hangs, killing it to start it again');
    await clock.advance(600_000);
    assert.deepEqual([daemon.kills, daemon.starts], [[1], 1], 'and all is well');
    stop.abort();
    await running;
  });

  test('its log is emptied when it has grown too large', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-supervisor-'));
    t.after(() => rmSync(folder, { recursive: true }));
    const { clock, daemon, stop, run } = supervised();
    daemon.logFile = join(folder, 'log');
    writeFileSync(daemon.logFile, 'x');
    const running = run();
    await clock.advance(1000);
    assert.equal(statSync(daemon.logFile).size, 1);
    truncateSync(daemon.logFile, 33 * 1024 * 1024);
    await clock.advance(1000);
    assert.equal(statSync(daemon.logFile).size, 0);
    stop.abort();
    await running;
  });

  test('one that is slow is never killed, nor one that was silent for long', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    daemon.delay = 28_000;
    await clock.advance(600_000);
    assert.deepEqual(daemon.kills, []);
    assert.ok(daemon.said.includes('etcd answers again'));
    stop.abort();
    await running;
  });

  test('a question that fails at once is no shorter silence', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    daemon.refuses = true;
    await clock.advance(29_000);
    assert.deepEqual(daemon.kills, []);
    await clock.advance(3000);
    assert.deepEqual(daemon.kills, [1]);
    stop.abort();
    await running;
  });

  test('time in which we stood still ourselves is not held against it', async () => {
    const time = new VirtualClock();
    let slept = 0;
    const clock: Clock = {
      now: () => time.now() + slept,
      monotonic: () => time.monotonic() + slept,
      after: time.after.bind(time),
    };
    const { daemon, stop, run } = supervised(undefined, clock);
    const running = run();
    await time.advance(10_000);
    daemon.delay = undefined;
    await time.advance(20_000);
    slept = 3_600_000;
    await time.advance(1000);
    assert.deepEqual(daemon.kills, []);
    await time.advance(20_000);
    assert.deepEqual(daemon.kills, [1]);
    stop.abort();
    await running;
  });

  test('what one said that was killed is no answer of the next', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    daemon.delay = 38_000;
    await clock.advance(31_500);
    assert.equal(daemon.starts, 1);
    daemon.delay = undefined;
    await clock.advance(10_000);
    assert.ok(!daemon.said.includes('etcd answers again'), daemon.said.join('; '));
    stop.abort();
    await running;
  });

  test('who is slow to start is given twice as long each time; an answer makes up for all', async () => {
    const { clock, daemon, stop, run } = supervised();
    const running = run();
    const nextKill = async () => {
      const before = daemon.kills.length;
      const began = clock.now();
      while (daemon.kills.length === before && clock.now() < began + 600_000) await clock.advance(500);
      return Math.round((clock.now() - began) / 1000);
    };
    daemon.delay = undefined;
    const waited = [await nextKill(), await nextKill(), await nextKill()];
    assert.deepEqual(
      waited.map((seconds) => Math.round(seconds / 10) * 10),
      [30, 60, 120],
      `${waited.join(', ')} s`,
    );
    daemon.healsByRestart = true;
    await clock.advance(10_000);
    daemon.delay = undefined;
    assert.ok((await nextKill()) < 40);
    stop.abort();
    await running;
  });

  test('who starts it waits until it answers; one that hangs is killed for the next try', async () => {
    const { clock, daemon, supervisor } = supervised(2000);
    daemon.delay = 1500;
    let ready: unknown = 'waiting';
    const wait = (signal?: AbortSignal) => {
      ready = 'waiting';
      void supervisor.ready(signal).then(
        () => (ready = 'ready'),
        (error: Error) => (ready = error.message),
      );
    };
    wait();
    await clock.advance(1400);
    assert.equal(ready, 'waiting');
    await clock.advance(200);
    assert.equal(ready, 'ready');
    daemon.delay = undefined;
    wait();
    await clock.advance(2100);
    assert.equal(ready, 'etcd did not answer for 2 s and was killed');
    assert.deepEqual(daemon.kills, [1]);
    wait();
    await clock.advance(100);
    assert.equal(ready, 'etcd ended while starting');
    await daemon.start();
    const given = new AbortController();
    wait(given.signal);
    await clock.advance(100);
    given.abort();
    await clock.advance(1);
    assert.equal(ready, 'etcd is not waited for any more');
  });
});
