import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import { test } from 'node:test';
import { sleep, VirtualClock } from '../kit/clock.ts';
import { parseReference } from './reference.ts';
import { RegistryClient } from './registry.ts';
import { retried } from './transfer.ts';

/** Asks a registry whose every answer is this failure, which takes so long; how often, for how long, and what it said. */
async function ask(failure: object, takesMs: number) {
  const clock = new VirtualClock();
  let times = 0;
  const fetch = async (): Promise<Response> => {
    times++;
    await sleep(clock, takesMs);
    throw new TypeError('fetch failed', { cause: Object.assign(new Error('said by the system'), failure) });
  };
  const registry = new RegistryClient({ insecure: [], fetch, clock });
  const { signal } = new AbortController();
  const session = registry.session(parseReference('reg.example/team/app:1'), undefined);
  const start = clock.now();
  const asked = retried({ clock, signal }, () => session.manifest('1')).then(
    () => ({ message: '', ms: 0 }),
    (error: Error) => ({ message: error.message, ms: clock.now() - start }),
  );
  let ended = false;
  void asked.then(() => (ended = true));
  while (!ended) {
    await clock.advance(50);
    await setImmediate();
  }
  return { times, ...(await asked) };
}

const URL = 'Get "https://reg.example/v2/team/app/manifests/1"';

test('a name server that does not answer is asked for some twenty seconds, and what failed is said in words', async () => {
  const { times, ms, message } = await ask({ code: 'EAI_AGAIN', hostname: 'reg.example' }, 6000);
  const why = 'lookup reg.example: no name server answers (temporary failure in name resolution)';
  assert.equal(message, `${URL}: ${why}`);
  assert.ok(times > 1 && ms <= 20_000, `${times} times in ${ms} ms`);
  const unknown = await ask({ code: 'ENOTFOUND', hostname: 'reg.example' }, 10);
  assert.equal(unknown.message, `${URL}: lookup reg.example: no such host`);
});

test('a host that takes no connection is given up as soon, one that refuses it sooner; one that breaks connections is tried on', async () => {
  const silent = await ask({ code: 'UND_ERR_CONNECT_TIMEOUT' }, 10_000);
  assert.ok(silent.times === 2 && silent.ms < 21_000, `${silent.times} times in ${silent.ms} ms`);
  const refused = await ask({ code: 'ECONNREFUSED' }, 1);
  assert.ok(refused.times === 4 && refused.ms < 2_000, `${refused.times} times in ${refused.ms} ms`);
  const broken = await ask({ code: 'ECONNRESET' }, 10_000);
  assert.deepEqual([broken.times, broken.message], [6, `${URL}: said by the system`]);
});
