/** For tests only: a user's own containers on a node without containerd and kernel, in virtual time. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FakeRuntime } from '../containerd/fake.ts';
import { interfaceAddress, parseIpv4 } from '../kit/cidr.ts';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId, NetworkId } from '../model/ids.ts';
import type { StandaloneSpec } from '../model/standalone.ts';
import { macFor, network, view as networkView } from '../net/builders.ts';
import { FakeNetwork } from '../net/fake-network.ts';
import { ContainerControl } from './container-control.ts';
import { IMAGE } from './fake-node.ts';
import { Standalone } from './standalone.ts';
import type { NetworkPlace, Stand } from './standalone-networks.ts';
import { TaskFiles } from './task-files.ts';

export const spec = (patch: Partial<StandaloneSpec> = {}): StandaloneSpec => ({
  ...{ name: 'shell', container: { Image: IMAGE }, limits: undefined, hostname: '', labels: {} },
  ...{ network: { mode: 'bridge', networks: [] }, ports: [], autoRemove: false, stdinOnce: false },
  ...patch,
});

const NETWORKS = ['mynet', 'other', 'inside'];
export const view = networkView({ networks: NETWORKS.map((id) => network(id)) });

const standOn = (target: string): Stand => {
  const n = NETWORKS.indexOf(target) + 2;
  const networkId = target as NetworkId;
  const address = interfaceAddress(parseIpv4(`10.0.1.${n}`), 24);
  const mac = macFor(`10.0.1.${n}`);
  return { networkId, name: target, address, mac, aliases: [], internal: target === 'inside' };
};
export const on = (...targets: string[]) => ({
  network: { mode: 'overlay' as const, networks: targets.map((target) => ({ target, aliases: [] })) },
});

export async function host(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'skein-own-'));
  const clock = new VirtualClock();
  const runtime = new FakeRuntime({ clock });
  runtime.images.add(IMAGE);
  const kernel = new FakeNetwork();
  await kernel.apply(view);
  const calls: string[] = [];
  const said: string[] = [];
  const stands: Stand[] = [];
  const member = { is: true, reaches: true };
  const place: NetworkPlace = {
    network: kernel,
    ready: true,
    join: async (_id, name, { target, address }) => {
      calls.push(`join ${name} ${target}${address ? ` as ${address}` : ''}`);
      const stand = standOn(target);
      stands.push(stand);
      return stand;
    },
    leave: async (_id, networkId) => {
      if (!member.reaches && stands.length > 0)
        throw new SkeinError('unavailable', 'no manager can be reached at the moment; try again');
      if (stands.length > 0) calls.push(networkId ? `leave ${networkId}` : 'leave');
      stands.splice(0, stands.length, ...stands.filter((s) => networkId && s.networkId !== networkId));
    },
    abandon: (_id, networkId) => {
      calls.push(`abandon ${networkId ?? 'all'}`);
      stands.splice(0, stands.length, ...stands.filter((s) => networkId && s.networkId !== networkId));
    },
    stands: () => [...stands],
  };
  let next = 0;
  const opened: Standalone[] = [];
  const open = async ({ runs = true } = {}) => {
    const standalone = await Standalone.open({
      ...{ runtime, files: new TaskFiles(root, 'standalone'), place: () => (member.is ? place : undefined) },
      ...{ runRoot: root, resolvConf: () => '', random: () => 0, clock, log: silentLog },
      hash: (text) => text,
      tell: ({ action }) => said.push(action),
      newId: () => (++next).toString(16).padStart(64, 'f') as ContainerId,
    });
    if (runs) standalone.run();
    opened.push(standalone);
    return { standalone, control: new ContainerControl({ runtime, standalone, clock }) };
  };
  t.after(async () => {
    for (const standalone of opened) await standalone.stop(); // none writes into the folder that goes
    await rm(root, { recursive: true, force: true });
  });
  const until = async (what: string, done: () => Promise<boolean>) => {
    // Its files are real: how often the clock goes on meanwhile says nothing.
    for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
      if (await done()) return;
      await clock.advance(50);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.fail(`never came true: ${what}`);
  };
  const info = async (id: ContainerId) => (await runtime.get(id))!;
  return { ...(await open()), open, until, runtime, network: kernel, calls, said, member, info, clock };
}
