import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { type EngineEvent, EventLog } from '../kit/event-log.ts';
import { EVENT_FILTERS, MAX_WAITING, eventLines, wanted } from './events.ts';
import { FakeBackends } from './fake-backends.ts';
import { parseFilters } from './filters.ts';

async function setup(filters: object = {}, times: { since?: number; until?: number } = {}) {
  const clock = new VirtualClock();
  const backends = new FakeBackends(clock);
  const stop = new AbortController();
  const lines = eventLines({
    log: backends.events,
    filters: parseFilters(JSON.stringify(filters), EVENT_FILTERS),
    since: times.since,
    until: times.until,
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

test('an update of a node or a service says what changed, before and after', async () => {
  const { backends } = await setup();
  const told = () => {
    const { type, action, attributes } = backends.events.past.at(-1)!;
    return [`${type} ${action}`, attributes];
  };
  const node = [...backends.view.all('node').values()][0]!;
  backends.control.put('node', { ...node, spec: { ...node.spec, Availability: 'drain' } });
  const name = node.description!.hostname;
  const drained = { name, 'availability.old': 'active', 'availability.new': 'drain' };
  assert.deepEqual(told(), ['node update', drained]);
  const spec = (Image: string, Replicas: number) => ({
    ...{ Name: 'web', Labels: {}, TaskTemplate: { ContainerSpec: { Image } } },
    Mode: { Replicated: { Replicas } },
  });
  const { id } = await backends.control.createService(spec('app:1', 0), undefined);
  const service = backends.view.get('service', id)!;
  const updateStatus = { state: 'updating', message: '' } as const;
  backends.control.put('service', { ...service, spec: spec('app:2', 3), updateStatus });
  assert.deepEqual(told(), [
    'service update',
    {
      ...{ name: 'web', 'image.old': 'app:1', 'image.new': 'app:2' },
      ...{ 'replicas.old': '0', 'replicas.new': '3', 'updatestate.new': 'updating' },
    },
  ]);
});

test('until ends the stream', async () => {
  const { clock, lines, next } = await setup(
    { type: ['service'] },
    { until: new VirtualClock().now() + 10_000 },
  );
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

test('what is remembered comes first, and alone where the end is past', async () => {
  const clock = new VirtualClock();
  const log = new EventLog(clock);
  const start = clock.now();
  for (let second = 0; second < 5; second++) {
    log.tell({ type: 'volume', action: 'create', id: `v${second}`, attributes: {}, scope: 'local' });
    await clock.advance(1000);
  }
  const read = async (since: number | undefined, until: number) => {
    const { signal } = new AbortController();
    const filters = parseFilters('', EVENT_FILTERS);
    const ids: string[] = [];
    const times = { since: since === undefined ? undefined : start + since, until: start + until };
    for await (const line of eventLines({ log, filters, ...times, clock, signal }))
      ids.push((JSON.parse(Buffer.from(line).toString()) as { Actor: { ID: string } }).Actor.ID);
    return ids;
  };
  assert.deepEqual(await read(1000, 3000), ['v1', 'v2', 'v3']);
  assert.deepEqual(
    await read(undefined, 1000),
    ['v0', 'v1'],
    'an end alone: all that is remembered before it',
  );
  const live = read(4000, 6000);
  log.tell({ type: 'volume', action: 'create', id: 'v5', attributes: {}, scope: 'local' });
  await clock.advance(2000);
  assert.deepEqual(await live, ['v4', 'v5']);
});

test('what is fleeting is told to who listens, and not remembered', async () => {
  const { backends, next } = await setup({ type: ['container'] });
  const probe = { type: 'container', action: 'exec_start: true ', scope: 'local' } as const;
  const before = backends.events.past.length;
  backends.events.tell({ ...probe, id: 'abc', attributes: { name: 'web' }, fleeting: true });
  assert.equal(shown((await next).value), 'container exec_start: true  local');
  assert.equal(backends.events.past.length, before);
});

test('filters as Docker’s: details may be left out, an image is also its containers’', () => {
  const base = { type: 'container', action: 'start', id: 'abc1', scope: 'local' } as const;
  const event: EngineEvent = { ...base, attributes: { name: 'web', image: 'app:1@sha256:00', l: '1' } };
  const exec: EngineEvent = { ...event, action: 'exec_create: sh -c x' };
  const volume: EngineEvent = { ...base, type: 'volume', id: 'abc1', attributes: { driver: 'local' } };
  const cases: readonly (readonly [boolean, EngineEvent, Record<string, string[]>])[] = [
    [true, event, { container: ['web'] }],
    [true, event, { container: ['abc'], type: ['container', 'image'] }],
    [true, volume, { container: ['abc'] }],
    [true, event, { container: ['we'], service: ['w'] }],
    [false, event, { container: ['eb'] }],
    [false, event, { container: ['web'], volume: ['other'] }],
    [true, event, { label: ['l'] }],
    [false, event, { label: ['l=2'] }],
    [true, event, { image: ['app'] }],
    [true, event, { image: ['app:1'] }],
    [false, event, { image: ['app:2'] }],
    [true, exec, { event: ['exec_create'] }],
    [false, exec, { event: ['exec'] }],
    [true, volume, { volume: ['abc1'], scope: ['local'] }],
    [false, volume, { scope: ['swarm'] }],
    [false, event, { plugin: ['x'] }],
  ];
  for (const [expected, seen, filters] of cases)
    assert.equal(
      wanted(seen, parseFilters(JSON.stringify(filters), EVENT_FILTERS)),
      expected,
      JSON.stringify(filters),
    );
});
