import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GATEWAY_LINK, INGRESS_LINK } from '../net/link-names.ts';
import { HOST_NETWORK_FILES } from './host-network.ts';
import {
  APT_INSTALL,
  type InstallStep,
  LIBRARY,
  missingOf,
  planInstall,
  refusals,
  UNFINISHED,
  UNIT,
} from './install-plan.ts';

const facts = {
  source: '/src',
  root: '',
  missingPackages: [] as string[],
  unfinished: [] as string[],
  start: true,
};
const kinds = (steps: ReturnType<typeof planInstall>) => steps.map((s) => s.kind);

/** What the plan does about packages and their services. */
const brought = (more: Partial<typeof facts>) => {
  const steps = planInstall({ ...facts, ...more }, []);
  return steps.slice(
    0,
    steps.findIndex((step) => step.kind === 'copy'),
  );
};
const record = (...services: string[]) => {
  const content = `${JSON.stringify(services)}\n`;
  return { kind: 'write', path: UNFINISHED, mode: 0o644, keep: false, content };
};
const forget = { kind: 'remove', path: UNFINISHED };

test('packages come first, and a service that came with one is switched off', () => {
  assert.deepEqual(brought({ missingPackages: ['etcd-server', 'nftables'] }), [
    record('etcd'),
    { kind: 'packages', names: ['etcd-server', 'nftables'] },
    { kind: 'disable-service', name: 'etcd' },
    forget,
  ]);
});

test('what a killed run brought is switched off by the next one', () => {
  const off = ['containerd', 'etcd'].map((name) => ({ kind: 'disable-service', name }));
  const finish = { kind: 'finish-packages' };
  // Killed when both packages were there, and when one was.
  assert.deepEqual(brought({ unfinished: ['containerd', 'etcd'] }), [
    ...[record('containerd', 'etcd'), finish, ...off, forget],
  ]);
  assert.deepEqual(brought({ unfinished: ['containerd', 'etcd'], missingPackages: ['etcd-server'] }), [
    ...[record('containerd', 'etcd'), finish, { kind: 'packages', names: ['etcd-server'] }, ...off, forget],
  ]);
});

test("Docker's own packages stay: what they bring is not missing, nothing is ever removed, and a busy dpkg is waited for", () => {
  assert.deepEqual(missingOf(new Set()), ['containerd', 'runc', 'etcd-server', 'nftables', 'iproute2']);
  const beside = new Set(['docker-ce', 'containerd.io', 'iproute2']);
  assert.deepEqual(missingOf(beside), ['etcd-server', 'nftables']);
  assert.ok(APT_INSTALL.includes('--no-remove'));
  assert.match(APT_INSTALL.join(' '), /-o DPkg::Lock::Timeout=\d+/);
});

test('the unit is read, comes with every boot, and runs the new copy from now on, last of all', () => {
  const steps = planInstall(facts, []);
  assert.deepEqual(
    steps.slice(-4).map((step) => (step.kind === 'systemctl' ? step.args.join(' ') : step.kind)),
    ['daemon-reload', 'enable skein.service', 'restart skein.service', 'await-daemon'],
  );
});

test("the host's own network programs are told to leave Skein's links alone, before there is one", () => {
  const steps = planInstall(facts, []);
  const at = (pick: (step: InstallStep) => boolean) => steps.findIndex(pick);
  const told = (ending: string) => at((s) => s.kind === 'write' && s.path.endsWith(ending));
  const reload = at((s) => s.kind === 'systemctl' && s.args[0] === 'try-reload-or-restart');
  const start = at((s) => s.kind === 'systemctl' && s.args[0] === 'restart');
  const order = [-1, told('/05-skein.network'), told('/05-skein.link'), reload, start];
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
  assert.equal(new Set(order).size, order.length);
  for (const link of [INGRESS_LINK, GATEWAY_LINK]) assert.match(link, /^sk-/);
  const said = HOST_NETWORK_FILES.map(({ content }) => content.replace(/^#.*\n/, '').replaceAll(/\n+/g, ' '));
  assert.deepEqual(said, [
    '[Match] Name=sk-* [Link] Unmanaged=yes ',
    '[Match] OriginalName=sk-* [Link] NamePolicy=keep MACAddressPolicy=none ',
  ]);
});

test("a containerd or etcd that was there before is nobody's business", () => {
  assert.ok(!kinds(planInstall(facts, [])).includes('disable-service'));
});

test('what a host lacks is told all at once, with what to do about it', () => {
  const able = { isRoot: true, hasSystemd: true, hasApt: true };
  assert.deepEqual(refusals(able), []);
  const [root, systemd, apt, ...more] = refusals({ isRoot: false, hasSystemd: false, hasApt: false });
  assert.match(root!, /run it as root/);
  assert.match(systemd!, /systemd does not run here; --root DIR/);
  assert.match(apt!, /no Debian/);
  assert.deepEqual(more, []);
  for (const lack of Object.keys(able)) assert.equal(refusals({ ...able, [lack]: false }).length, 1);
});

test('staging writes below the root and starts nothing', () => {
  const steps = planInstall({ ...facts, root: '/stage', start: false }, ['zod']);
  assert.ok(!kinds(steps).includes('systemctl'));
  for (const step of steps) {
    if (step.kind === 'copy' || step.kind === 'replace') assert.ok(step.to.startsWith('/stage/'));
    if (step.kind === 'write') assert.ok(step.path.startsWith('/stage/'));
  }
});

test('an upgrade changes nothing of the old copy until the new one is whole', () => {
  const steps = planInstall(facts, ['zod']);
  const swap = steps.findIndex((s) => s.kind === 'replace');
  assert.deepEqual(steps.slice(swap - 1, swap + 1), [
    { kind: 'sync', path: `${LIBRARY}.new` },
    { kind: 'replace', from: `${LIBRARY}.new`, to: LIBRARY },
  ]);
  for (const [i, step] of steps.entries())
    if (step.kind === 'copy') {
      assert.ok(i < swap);
      assert.ok(step.to.startsWith(`${LIBRARY}.new`));
    }
});

test("the administrator's settings are kept on an upgrade", () => {
  const write = planInstall(facts, []).find(
    (s) => s.kind === 'write' && s.path === '/etc/skein/settings.json',
  );
  assert.ok(write?.kind === 'write' && write.keep);
});

test('stopping the unit stops skeind alone', () => assert.match(UNIT, /^KillMode=process$/m));
