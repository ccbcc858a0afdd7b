import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { MAX_WAITING, eventLines } from './events.ts';
import { FakeBackends } from './fake-backends.ts';
import { parseFilters } from './filters.ts';

async function setup(filters: object = {}, until?: string) {
  const clock = new VirtualClock();
  const backends = new FakeBackends(clock);
  const stop = new AbortController();
  const lines = eventLines({
    view: backends.view,
    filters: parseFilters(JSON.stringify(filters), ['type', 'event']),
    until,
    clock,
    signal: stop.signal,
  });
  const next = lines.next(); // subscribes
  backends.control.found({} as never);
  return { backends, clock, stop, lines, next };
}

const shown = (value: Uint8Array | void) => {
  const { Type, Action, scope } = JSON.parse(Buffer.from(value!).toString()) as Record<string, string>;
  return `${Type} ${Action} ${scope}`;
};

test('changes come in order, filtered, and end with the client', async () => {
  const { backends, stop, lines, next } = await setup({ type: ['network'] });
  assert.equal(shown((await next).value), 'network create swarm');
  await backends.control.removeNetwork('ingress');
  assert.equal(shown((await lines.next()).value), 'network remove swarm');
  const last = lines.next();
  stop.abort();
  assert.deepEqual(await last, { done: true, value: undefined });
});

test('until ends the stream', async () => {
  const { clock, lines, next } = await setup({ type: ['service'] }, '2026-01-01T00:00:10Z');
  await clock.advance(11_000);
  assert.equal((await next).done, true);
  assert.equal((await lines.next()).done, true);
});

test('a client that does not read is cut off, and costs a bounded memory', async () => {
  const { backends, lines, next } = await setup();
  await next;
  for (let i = 0; i < MAX_WAITING + 10; i++) {
    const [node] = backends.view.all('node').values();
    backends.control.put('node', node!);
  }
  await assert.rejects(lines.next(), { code: 'resource-exhausted' });
});
