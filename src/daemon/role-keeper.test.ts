/** A node changes its role, and is killed between any two things it does: it comes back and becomes it all the same. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { NodeRole } from '../model/spec.ts';
import { RoleKeeper } from './role-keeper.ts';
import { nextRoleStep, type RoleState } from './role-plan.ts';

const state = (patch: Partial<RoleState>): RoleState => ({
  certified: 'worker',
  told: undefined,
  serving: false,
  traces: false,
  expelled: false,
  ...patch,
});
const manager = { certified: 'manager', told: 'manager', traces: true } as const;

for (const [name, given, step] of [
  ['a worker that has heard nothing yet does nothing', {}, 'nothing'],
  ['a manager serves before it has heard anything', { certified: 'manager', traces: true }, 'serve'],
  ['a serving one has nothing to do', { ...manager, serving: true }, 'nothing'],
  ['promoted: the certificate first', { told: 'manager' }, 'certify'],
  ['then the store', { certified: 'manager', told: 'manager' }, 'serve'],
  ['demoted: the certificate first', { ...manager, told: 'worker', serving: true }, 'certify'],
  ['then all of the manager goes', { told: 'worker', serving: true, traces: true }, 'clear'],
  ['also after a restart in between', { traces: true }, 'clear'],
  ['a manager whose member was removed begins anew', { ...manager, serving: true, expelled: true }, 'clear'],
  ['unless it is to be a worker', { ...manager, told: 'worker', expelled: true }, 'certify'],
] as const)
  test(name, () => assert.equal(nextRoleStep(state(given)), step));

/** The node's disk and its cluster: what outlives a daemon that is killed. */
class World {
  certified: NodeRole;
  wanted: NodeRole;
  data: boolean;
  keys: boolean;
  member: boolean;
  halves = 0;
  /** Effects until the daemon is killed. */
  left = Infinity;
  dead = false;

  constructor(certified: NodeRole, wanted: NodeRole) {
    this.certified = certified;
    this.wanted = wanted;
    this.data = this.keys = this.member = certified === 'manager';
  }

  /** What the leader does about it: the member goes before the node is told. */
  get told(): NodeRole {
    if (this.wanted === 'worker') this.member = false;
    return this.wanted;
  }

  /** One thing done for good; nothing more once the daemon is dead. */
  act(effect: () => void): void {
    if (this.dead || this.left-- <= 0) {
      this.dead = true;
      throw new SkeinError('canceled', 'killed');
    }
    effect();
  }

  keeper(clock: VirtualClock): RoleKeeper<{ close(): Promise<void> }> {
    return new RoleKeeper({
      look: () => ({
        certified: this.certified,
        told: this.told,
        traces: this.data || this.keys,
        expelled: this.data && !this.member,
      }),
      onChange: () => () => {},
      certify: async () => this.act(() => (this.certified = this.told)),
      open: () => {
        this.halves += 1;
        return { close: async () => void (this.halves -= 1) };
      },
      serve: async () => {
        if (!this.data) {
          if (this.wanted !== 'manager') throw new SkeinError('permission-denied', 'not a manager');
          this.act(() => (this.member = true));
          this.act(() => (this.keys = true));
          this.act(() => (this.data = true));
        }
        this.act(() => {});
      },
      clear: async () => {
        this.act(() => (this.data = false));
        this.act(() => (this.keys = false));
      },
      clock,
      log: silentLog,
    });
  }
}

async function live(world: World, clock: VirtualClock): Promise<boolean> {
  const keeper = world.keeper(clock);
  keeper.start();
  await clock.advance(20_000);
  const serves = keeper.manager !== undefined;
  await keeper.stop();
  return serves;
}

for (const [from, to] of [
  ['worker', 'manager'],
  ['manager', 'worker'],
  ['manager', 'manager'],
] as const)
  test(`from ${from} to ${to}, killed anywhere`, async () => {
    for (let kill = 0; kill < 8; kill++) {
      const clock = new VirtualClock();
      const world = new World(from, to);
      if (from === to) world.member = false; // its member was removed: demoted and promoted while it was away
      world.left = kill;
      await live(world, clock);
      Object.assign(world, { left: Infinity, dead: false });
      assert.equal(await live(world, clock), to === 'manager', `killed after ${kill}`);
      assert.equal(world.certified, to);
      assert.deepEqual([world.data, world.keys, world.member], Array(3).fill(to === 'manager'));
      assert.equal(world.halves, 0);
    }
  });

test('a manager that waits for its quorum hears that it is to be a worker', async () => {
  const clock = new VirtualClock();
  let [certified, told]: NodeRole[] = ['manager', 'manager'];
  let changed = () => {};
  const keeper = new RoleKeeper({
    look: () => ({ certified: certified!, told, traces: certified === 'manager', expelled: false }),
    onChange: (listener) => ((changed = listener), () => {}),
    certify: async () => void (certified = told),
    open: () => ({ close: async () => {} }),
    serve: (_half, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('given up'))),
      ),
    clear: async () => {},
    clock,
    log: silentLog,
  });
  keeper.start();
  await clock.advance(60_000);
  assert.equal(keeper.error, '');
  told = 'worker';
  changed();
  await clock.advance(1000);
  assert.equal(certified, 'worker');
  assert.equal(keeper.manager, undefined);
  await keeper.stop();
});

/** One whose wait for its quorum has no end. */
function waiting(clock: VirtualClock) {
  const state = { certified: 'manager', told: 'manager', traces: true, expelled: false } as const;
  const world = { expelled: false, halves: 0 };
  const keeper = new RoleKeeper({
    look: () => ({ ...state, expelled: world.expelled }),
    onChange: () => () => {},
    certify: async () => {},
    open: () => {
      world.halves += 1;
      return { close: async () => void (world.halves -= 1) };
    },
    serve: (_half, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('given up'))),
      ),
    clear: async () => void (world.expelled = false),
    clock,
    log: silentLog,
  });
  return { keeper, world };
}

test('a manager that waits for its quorum begins anew when the others have removed it', async () => {
  const clock = new VirtualClock();
  const { keeper, world } = waiting(clock);
  keeper.start();
  await clock.advance(60_000);
  world.expelled = true;
  keeper.look();
  await clock.advance(1000);
  assert.equal(world.expelled, false, 'cleared');
  await keeper.stop();
});

test('a manager that waits for its quorum can go on alone, and waits again if it cannot', async () => {
  const clock = new VirtualClock();
  const { keeper, world } = waiting(clock);
  keeper.start();
  await clock.advance(60_000);
  await assert.rejects(
    keeper.begin(() => Promise.reject(new Error('no data'))),
    /no data/,
  );
  await clock.advance(60_000);
  assert.deepEqual([keeper.error, world.halves, keeper.manager], ['', 1, undefined]);
  await keeper.begin(async () => {});
  await clock.advance(60_000);
  assert.equal(keeper.manager, keeper.half);
  assert.deepEqual([keeper.error, world.halves], ['', 1]);
  await keeper.stop();
});

test('who joins is told how the first attempt failed, and the node tries on', async () => {
  const clock = new VirtualClock();
  const world = new World('worker', 'manager');
  world.certified = 'manager';
  world.left = 0;
  const keeper = world.keeper(clock);
  const settled = keeper.settled(new AbortController().signal);
  settled.catch(() => {});
  keeper.start();
  await clock.advance(0);
  await assert.rejects(settled, /killed/);
  assert.equal(keeper.error, 'killed');
  Object.assign(world, { left: Infinity, dead: false });
  const again = keeper.settled(new AbortController().signal);
  await clock.advance(5000);
  await again;
  assert.equal(keeper.error, '');
  assert.ok(keeper.manager);
  await keeper.stop();
});

test(
  'who waits for a manager that gets no quorum may give up, and the node tries on',
  { timeout: 10_000 },
  async () => {
    const clock = new VirtualClock();
    const { keeper } = waiting(clock);
    keeper.start();
    const closing = new AbortController();
    const settled = keeper.settled(closing.signal);
    await clock.advance(60_000);
    closing.abort();
    await assert.rejects(settled, { code: 'canceled' });
    await assert.rejects(keeper.settled(closing.signal), { code: 'canceled' });
    assert.equal(keeper.error, '');
    await keeper.stop();
  },
);
