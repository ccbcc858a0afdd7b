/** What the resolver is told of sandboxes, and when. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { sha256 } from '../kit/sha256.ts';
import { type RecordChanges } from '../dns/feed.ts';
import { sandboxKey } from '../dns/records.ts';
import { containerId, network, sandbox, view } from '../net/builders.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import { NamedNetwork } from './named-network.ts';

test('of a sandbox that is going when the first view is applied the resolver does not hear again', async () => {
  const kernel = new FakeNetwork();
  const all = view({ networks: [network('ingress')] });
  await kernel.apply(all);
  for (const n of [1, 2]) await kernel.attach(sandbox(n, `10.255.0.${n + 5}`));
  const wanted = new Set<string>();
  const names = {
    set: async ({ put, delete: gone }: RecordChanges) => {
      for (const key of gone) wanted.delete(key);
      for (const key of put.keys()) wanted.add(key);
      return [];
    },
  };
  const options = { network: kernel, names, hash: sha256, clock: systemClock, log: silentLog };
  const named = new NamedNetwork(options);
  const detach = Promise.withResolvers<void>();
  kernel.detach = () => detach.promise; // it waits for the view that is applied
  const detached = named.detach(containerId(1));
  await named.apply(all);
  detach.resolve();
  await detached;
  assert.deepEqual([...wanted], [sandboxKey(containerId(2))]);
});
