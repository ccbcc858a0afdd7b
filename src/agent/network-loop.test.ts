import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sleep, VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import type { NetworkView } from '../model/network-view.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import { type AuditStatus, NO_AUDITS } from '../net/network-status.ts';
import { type AuditReport, NetworkLoop } from './network-loop.ts';

const view = (revision: number): NetworkView => ({
  ...{ revision, self: undefined, peers: new Map(), networks: new Map(), endpoints: new Map() },
  services: new Map(),
});

test('the kernel is read back when it has been left alone for a second, not between changes', async () => {
  const clock = new VirtualClock();
  const began = clock.now();
  const audits: number[] = [];
  const applied: number[] = [];
  const network = Object.assign(new FakeNetwork(), {
    audit: async () => {
      audits.push(clock.now() - began);
      return { steps: {}, total: 0 };
    },
  });
  let latest = view(0);
  const loop = new NetworkLoop({
    ...{ network, clock, log: silentLog, random: () => 0, view: () => latest },
    applied: (revision) => applied.push(revision),
  });
  loop.start();
  for (let change = 1; change <= 5; change++) {
    await clock.advance(400);
    latest = view(change);
    loop.mark();
  }
  await clock.advance(999);
  assert.deepEqual([applied, audits], [[0, 1, 2, 3, 4, 5], []]);
  await clock.advance(2);
  assert.deepEqual(audits, [3000]);
  await loop.stop();
});

test('audits are counted, and those that found something out of step, with what they repaired', async () => {
  const clock = new VirtualClock();
  const found: AuditReport[] = [
    { steps: {}, total: 0 },
    { steps: { 'fdb.set': 2 }, total: 2 },
    { steps: { 'fdb.set': 1, 'address.add': 1 }, total: 2 },
  ];
  const audit = async () => found.shift() ?? { steps: {}, total: 0 };
  const saved: AuditStatus[] = [];
  const loop = new NetworkLoop({
    ...{ network: Object.assign(new FakeNetwork(), { audit }), clock, log: silentLog, random: () => 0 },
    ...{ view: () => view(0), applied: () => {}, auditMs: 10_000 },
    audits: { status: NO_AUDITS, save: (status) => void saved.push(status) },
  });
  loop.start();
  await clock.advance(25_000);
  await loop.stop();
  assert.deepEqual(
    saved.map(({ count, drifted, repaired }) => [count, drifted, repaired]),
    [
      [1, 0, {}],
      [2, 1, { 'fdb.set': 2 }],
      [3, 2, { 'fdb.set': 3, 'address.add': 1 }],
    ],
  );
});

test('a change does not wait for the end of an audit', async () => {
  const clock = new VirtualClock();
  const applied: number[] = [];
  const looking = Promise.withResolvers<void>();
  const audit = () => looking.promise.then(() => ({ steps: {}, total: 0 }));
  let latest = view(0);
  const loop = new NetworkLoop({
    ...{ network: Object.assign(new FakeNetwork(), { audit }), clock, log: silentLog, random: () => 0 },
    ...{ view: () => latest, applied: (revision: number) => applied.push(revision) },
  });
  loop.start();
  await clock.advance(2_000);
  latest = view(1);
  loop.mark();
  await clock.advance(0);
  assert.deepEqual(applied, [0, 1]);
  looking.resolve();
  await loop.stop();
});

for (const hours of [0, 1, -1])
  test(`a clock set by ${hours} h with every change and audit: each is followed by its rest, no shorter and no longer`, async () => {
    const clock = new VirtualClock();
    const took = async (ms: number) => {
      await sleep(clock, ms);
      clock.set(hours * 3_600_000);
    };
    const applied: number[] = [];
    const audits: number[] = [];
    class SlowNetwork extends FakeNetwork {
      override async apply(...args: Parameters<FakeNetwork['apply']>): Promise<void> {
        applied.push(clock.monotonic());
        await took(10);
        await super.apply(...args);
      }
      async audit() {
        audits.push(clock.monotonic());
        await took(100);
        return { steps: {}, total: 0 };
      }
    }
    let latest = view(0);
    const loop = new NetworkLoop({
      ...{ network: new SlowNetwork(), clock, log: silentLog, view: () => latest },
      ...{ applied: () => {}, auditMs: 60_000, random: () => 0 },
    });
    loop.start();
    for (let change = 1; change <= 3; change++) {
      await clock.advance(5);
      latest = view(change);
      loop.mark();
    }
    await clock.advance(2_000);
    latest = view(4);
    loop.mark();
    await clock.advance(20_000);
    assert.deepEqual(applied, [0, 30, 2_015], 'a change of 10 ms rests for 20');
    assert.deepEqual(audits, [1_040, 1_140 + 5_000], 'an audit of 100 ms rests for 5 s');
    await loop.stop();
  });
