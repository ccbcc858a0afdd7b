import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { Cache } from '../../src/store/cache.ts';
import { EtcdElection } from '../../src/store/etcd/election.ts';
import { PREFIX, prefixEnd, toBytes } from '../../src/store/etcd/keys.ts';
import type { EtcdMember } from '../../src/store/etcd/member.ts';
import { EtcdStore } from '../../src/store/etcd/store.ts';
import { runProcess } from '../../src/kit/process.ts';
import type { Draft, Fence } from '../../src/store/store.ts';
import { storeContract, task } from '../../src/store/store.contract.ts';
import { hang } from '../hang.ts';
import { Stalls } from '../lab/stalls.ts';
import { EtcdLab, until } from './etcd-lab.ts';

const lab = new EtcdLab();
let member: EtcdMember;
before(async () => {
  member = await lab.single();
});
after(() => lab.close());

const common = () => ({ client: lab.client(member), clock: systemClock, log: silentLog });

async function empty() {
  const options = common();
  await options.client.kv.deleteRange({ key: toBytes(PREFIX), rangeEnd: prefixEnd(PREFIX) });
  return options;
}

storeContract('etcd', async () => {
  const options = await empty();
  const store = new EtcdStore(options);
  return {
    store,
    elections: [new EtcdElection(options), new EtcdElection(common())],
    compact: async (revision) => void (await options.client.kv.compact({ revision: BigInt(revision) })),
    close: () => store.close(),
  };
});

test('a store that did not see an object write before still updates and deletes it', async () => {
  const options = await empty();
  const [writer, other] = [new EtcdStore(options), new EtcdStore(options)];
  const draft = task();
  const version = await writer.transact([{ op: 'create', kind: 'task', object: draft }]);
  const { createdAt } = (await writer.get('task', draft.id))!;
  await other.transact([{ op: 'update', kind: 'task', object: draft, version }]);
  assert.equal((await writer.get('task', draft.id))!.createdAt, createdAt);
  await writer.transact([{ op: 'delete', kind: 'task', id: draft.id }]);
  assert.equal(await other.get('task', draft.id), undefined);
});

test('large transactions and answers of more than one page and fragment come back whole', async () => {
  const options = await empty();
  const store = new EtcdStore(options);
  const { revision } = await store.snapshot();
  const filling = 'x'.repeat(20_000);
  const revisions: number[] = [];
  for (let i = 0; i < 15; i++)
    revisions.push(
      await store.transact(
        Array.from({ length: 150 }, () => ({
          op: 'create',
          kind: 'task',
          object: task({ serviceName: filling }),
        })),
      ),
    );
  const sizes: number[] = [];
  for await (const batch of store.watch(revision, AbortSignal.timeout(60_000))) {
    sizes.push(batch.changes.length);
    if (batch.revision === revisions.at(-1)) break;
  }
  assert.deepEqual(sizes, Array.from({ length: 15 }, () => 150)); // prettier-ignore
  assert.equal((await store.snapshot()).objects.length, 15 * 150);
});

test('a full store says so and takes removals; by the way that is written down it takes everything again', async () => {
  const small = await lab.single('small', { quotaBytes: 16 * 1024 * 1024 });
  const store = new EtcdStore({ ...common(), client: lab.client(small) });
  const drafts: Draft<'task'>[] = [];
  const create = (object: Draft<'task'>) => store.transact([{ op: 'create', kind: 'task', object }]);
  const fill = async () => {
    for (let n = 0; n < 40; n++) {
      const draft = task({ serviceName: 'x'.repeat(1_000_000) });
      await create(draft);
      drafts.push(draft);
    }
  };
  await assert.rejects(fill(), {
    code: 'resource-exhausted',
    message: /store is full .* The store is full$/,
  });
  for (const { id } of drafts) await store.transact([{ op: 'delete', kind: 'task', id }]);
  await assert.rejects(create(task()), { code: 'resource-exhausted' });

  const etcdctl = async (...args: string[]) => {
    const argv = ['etcdctl', '--endpoints', 'unix://client:0', ...args];
    const env = { PATH: process.env['PATH'], ETCDCTL_API: '3' };
    return (await runProcess(argv, { cwd: join(lab.dir, 'small'), env })).stdout;
  };
  const status = await etcdctl('endpoint', 'status', '-w', 'json');
  await etcdctl('compact', /"revision":(\d+)/.exec(status)![1]!);
  await etcdctl('defrag');
  await etcdctl('alarm', 'disarm');
  await create(task());
  await store.close();
});

test('without etcd calls fail in bounded time; afterwards watch and cache go on and nothing is missing', async (t) => {
  const options = await empty();
  const store = new EtcdStore(options);
  const abort = new AbortController();
  const cache = new Cache();
  const following = cache.follow(store, { clock: systemClock, signal: abort.signal });
  t.after(() => abort.abort());
  const before = await store.transact([{ op: 'create', kind: 'task', object: task() }]);
  await cache.reached(before, AbortSignal.timeout(30_000));
  await hang(t, member.pid!);
  t.after(() => member.start());
  const [start, stalls] = [performance.now(), new Stalls()];
  await assert.rejects(store.transact([{ op: 'create', kind: 'task', object: task() }]), {
    code: 'deadline-exceeded',
    message: /^etcd: KV\.Txn: no answer within \d+ s; it hangs or is overloaded$/,
  });
  assert.ok(performance.now() - start - stalls.ms < 10_000);
  await stalls.close();
  process.kill(member.pid!, 'SIGKILL');
  await until('etcd is gone', () => member.pid === undefined);
  await assert.rejects(store.transact([{ op: 'create', kind: 'task', object: task() }]), {
    code: 'unavailable',
    message:
      /^the store of this manager is not to be reached; .* try again in a moment \(etcd: KV\.Txn: .+\)$/,
  });
  await member.start();
  await until('etcd serves', () => member.serves());
  const last = await store.transact([{ op: 'create', kind: 'task', object: task() }]);
  await cache.reached(last, AbortSignal.timeout(30_000));
  const { objects } = await store.snapshot();
  assert.deepEqual([...cache.all('task').keys()].sort(), objects.map(({ object }) => object.id).sort());
  abort.abort();
  await following;
});

const leading = (fences: Fence[]) => (fence: Fence, signal: AbortSignal) => {
  fences.push(fence);
  return new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
};

test('a restarted manager that finds its own key leads again at once, and its former fence is void', async (t) => {
  const options = await empty();
  const store = new EtcdStore(options);
  const crashed: Fence[] = [];
  const [first, second] = [new AbortController(), new AbortController()];
  t.after(() => [first, second].forEach((each) => each.abort()));
  // So long that only who takes the key away leads within the time that is waited for.
  const former = new EtcdElection({ ...common(), ttl: 600 }).campaign('me', leading(crashed), first.signal);
  await until('first leads', () => crashed.length === 1);
  const fences: Fence[] = [];
  const again = new EtcdElection(options).campaign('me', leading(fences), second.signal);
  await until('second leads', () => fences.length === 1);
  await assert.rejects(store.transact([], crashed[0]), { code: 'failed-precondition' });
  await store.transact([], fences[0]);
  first.abort();
  second.abort();
  await Promise.all([former, again]);
});

test("a leader's signal aborts before another can lead when etcd falls silent", async (t) => {
  const options = await empty();
  const abort = new AbortController();
  t.after(() => abort.abort());
  let anotherMayLead = false;
  let lost: string | undefined;
  const campaign = new EtcdElection({ ...options, ttl: 6 }).campaign(
    'me',
    async (_fence, signal) => {
      if (lost) return;
      // From then on. On a machine that stood still meanwhile, too, what is due earlier rings earlier.
      const timer = setTimeout(() => (anotherMayLead = true), 6000);
      t.after(() => clearTimeout(timer));
      await hang(t, member.pid!);
      if (!signal.aborted) await once(signal, 'abort');
      lost = anotherMayLead ? 'too late' : 'in time';
      process.kill(member.pid!, 'SIGCONT');
    },
    abort.signal,
  );
  await until('leadership is lost', () => lost !== undefined);
  assert.equal(lost, 'in time');
  abort.abort();
  await campaign;
});
