import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Ipv4, NodeId } from '../model/ids.ts';
import { endpoint, network, peer, port, service, view } from './builders.ts';
import {
  type Answer,
  awayOf,
  due,
  follow,
  judge,
  PROBE,
  probeTargets,
  sent,
  steer,
  type Steered,
  type Steering,
} from './steering-plan.ts';

const B = 'b' as NodeId;
const TARGET = '10.255.0.3' as Ipv4;
const TICK = 50;
const targets = new Map([[B, TARGET]]);
const peers = new Map([[B, undefined]]);

/** One peer on a virtual clock: what it answers to is said probe by probe. Tells every change with its time. */
function run(
  ms: number,
  answersAt: (sentAt: number) => boolean,
  options: { remembered?: boolean; delay?: number; stall?: (now: number) => boolean } = {},
): { readonly at: number; readonly away: boolean }[] {
  const remembered = { proven: new Set(options.remembered === false ? [] : [B]), away: new Set<NodeId>() };
  let steering: Steering = follow(new Map(), targets, peers, 0, remembered);
  const changes: { at: number; away: boolean }[] = [];
  const underway: { readonly answer: Answer; readonly at: number }[] = [];
  let sequence = 0;
  for (let now = 0; now <= ms; now += TICK) {
    if (options.stall?.(now)) continue;
    const heard = underway.filter(({ at }) => at <= now).map(({ answer }) => answer);
    underway.splice(0, underway.length, ...underway.filter(({ at }) => at > now));
    const before = steering.get(B)!.away;
    steering = judge(steering, heard, now);
    for (const id of due(steering, targets, now)) {
      steering = sent(steering, id, ++sequence, now);
      if (answersAt(now))
        underway.push({ answer: { from: TARGET, sequence }, at: now + (options.delay ?? 1) });
    }
    const { away } = steering.get(B)!;
    if (away !== before) changes.push({ at: now, away });
  }
  return changes;
}

describe('judging a peer', () => {
  test('a cut is seen within 850 ms whenever it falls, a return within 500 ms', () => {
    for (let cut = 2_000; cut < 2_400; cut += 10) {
      const changes = run(8_000, (at) => at < cut || at >= cut + 3_000);
      assert.deepEqual(
        changes.map((c) => c.away),
        [true, false],
      );
      const [gone, back] = [changes[0]!, changes[1]!];
      assert.ok(gone.at > cut && gone.at - cut <= 850, `${gone.at - cut} ms`);
      assert.ok(back.at - cut - 3_000 <= 500, `${back.at - cut - 3_000} ms`);
    }
  });

  test('two lost probes are nothing', () => {
    assert.deepEqual(
      run(10_000, (at) => at % 1_000 >= 400),
      [],
    );
  });

  test('a long way is no loss, and a peer at its end comes back too', () => {
    assert.deepEqual(
      run(10_000, () => true, { delay: 700, remembered: false }),
      [],
    );
    const changes = run(10_000, (at) => at < 2_000 || at > 5_000, { delay: 400 });
    assert.deepEqual(
      changes.map((c) => c.away),
      [true, false],
    );
  });

  test('a process that stood still misses nothing', () => {
    assert.deepEqual(
      run(20_000, () => true, { stall: (now) => now % 5_000 > 1_000 }),
      [],
    );
  });

  test('a peer that never answered is not steered away from', () => {
    assert.deepEqual(
      run(10_000, () => false, { remembered: false }),
      [],
    );
  });

  test('property: whatever is lost, no two changes within a second; a peer that answers everything ends up used', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 50, maxLength: 200 }), (pattern) => {
        const end = pattern.length * 200;
        const changes = run(end + 3_000, (at) => at >= end || pattern[Math.floor(at / 200)]!);
        for (const [n, change] of changes.entries())
          if (n > 0) assert.ok(change.at - changes[n - 1]!.at >= PROBE.changeMs);
        assert.ok(!(changes.at(-1)?.away ?? false));
      }),
    );
  });
});

describe('steering a view', () => {
  const web = { serviceId: 'web' as never };
  const base = view({
    peers: [peer('b', '192.0.2.2'), peer('c', '192.0.2.3')],
    networks: [network('ingress')],
    endpoints: [
      endpoint('b', undefined, '10.255.0.3', { inRotation: false }),
      endpoint('c', undefined, '10.255.0.4', { inRotation: false }),
      endpoint('a', 't1', '10.255.0.10', web),
      endpoint('b', 't2', '10.255.0.11', web),
      endpoint('c', 't3', '10.255.0.12', { ...web, inRotation: false }),
    ],
    services: [service('web', port(80, 80))],
  });

  test('nobody away is the same view', () => {
    assert.equal(steer(base, new Set(), new WeakMap()), base);
  });

  test('the endpoints of an away peer leave rotation, and nothing else is another object', () => {
    const copies: Steered = new WeakMap();
    const steered = steer(base, new Set([B]), copies);
    const changed = [...base.endpoints].filter(([key, e]) => steered.endpoints.get(key) !== e);
    assert.deepEqual(
      changed.map(([, e]) => e.taskId),
      ['t2'],
    );
    assert.deepEqual(
      [...steered.endpoints.values()].filter((e) => e.inRotation).map((e) => e.taskId),
      ['t1'],
    );
    assert.deepEqual({ ...steered, endpoints: 0 }, { ...base, endpoints: 0 });
    const again = steer(base, new Set([B]), copies);
    for (const [key, e] of steered.endpoints) assert.equal(again.endpoints.get(key), e);
  });

  test('peers with endpoints in rotation are probed at their ingress endpoint, without one at their VTEP', () => {
    assert.deepEqual([...probeTargets(base, new Map())], [[B, '10.255.0.3']]);
    const bare = { ...base, self: { ...base.self!, ingress: undefined } };
    assert.deepEqual([...probeTargets(bare, new Map())], [[B, '192.0.2.2']]);
  });

  test('a peer that is away is probed although nothing of it is in rotation any more', () => {
    const known = follow(new Map(), targets, peers, 0, { proven: new Set([B]), away: new Set([B]) });
    const drained = { ...base, endpoints: new Map() };
    assert.deepEqual([...probeTargets(drained, known)], [[B, '192.0.2.2']]);
    assert.deepEqual([...awayOf(known)], [B]);
    assert.deepEqual([...follow(known, new Map(), new Map(), 1)], [], 'a peer that left is forgotten');
  });
});
