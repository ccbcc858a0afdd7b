import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planInstall } from './install-plan.ts';
import { loadSettings } from './settings.ts';
import { planUninstall, type UninstallFacts, type UninstallStep, whyNot } from './uninstall-plan.ts';

const facts: UninstallFacts = {
  settings: loadSettings(undefined, {}),
  hasUnit: true,
  isMember: false,
  force: false,
  data: false,
};
const plan = (more: Partial<UninstallFacts> = {}) => planUninstall({ ...facts, ...more });
const removed = (steps: readonly UninstallStep[]) =>
  steps.flatMap((step) => (step.kind === 'remove' ? [step.path] : []));

test('all that an install puts on a host goes, but the settings', () => {
  const install = { source: '/src', root: '', missingPackages: [], unfinished: [], start: true };
  const put = planInstall(install, ['zod']).flatMap((step) => {
    if (step.kind === 'write') return [step.path];
    return step.kind === 'replace' ? [step.to] : [];
  });
  const gone = removed(plan());
  assert.deepEqual(
    put.filter((path) => !gone.includes(path)),
    ['/etc/skein/settings.json'],
  );
  const all = removed(plan({ data: true }));
  assert.deepEqual(
    put.filter((path) => !all.includes(path)),
    [],
  );
});

test('the data stays unless told; then it goes by name, and what is not of Skein stays', () => {
  const below = (steps: readonly UninstallStep[]) =>
    removed(steps).filter((path) => path.startsWith('/var/lib/skein/'));
  assert.deepEqual(below(plan()), []);
  const all = plan({ data: true });
  const entries = below(all).map((path) => path.slice('/var/lib/skein/'.length));
  assert.deepEqual(entries.sort(), [
    ...['cluster', 'containerd', 'containers', 'engine-id', 'etcd', 'resolver.log'],
    ...['standalone', 'tasks', 'volumes'],
  ]);
  assert.ok(!removed(all).includes('/var/lib/skein'));
  assert.deepEqual(
    all.flatMap((step) => (step.kind === 'remove-if-empty' ? [step.path] : [])),
    ['/var/lib/skein', '/etc/skein'],
  );
});

test('nothing runs any more when its files go, and the command goes last', () => {
  const kinds = plan({ data: true }).map((step) => step.kind);
  assert.deepEqual(kinds.slice(0, 5), [
    ...['systemctl', 'stop-daemon', 'end-containers', 'clear-network', 'take-power'],
  ]);
  assert.deepEqual(removed(plan()).slice(-2), ['/usr/bin/skein', '/usr/lib/skein']);
});

test('what an install leaves when it is killed goes too, and what the daemon cached', () => {
  for (const path of ['/usr/lib/skein.new', '/var/cache/skein'])
    assert.ok(removed(plan()).includes(path), path);
  assert.ok(removed(plan({ data: true })).includes('/etc/skein/switch-off.json'));
});

test('systemd and networkd read anew what is there without the files of Skein', () => {
  const steps = plan();
  const gone = (path: string) => steps.findIndex((step) => step.kind === 'remove' && step.path === path);
  const told = (verb: string) =>
    steps.findIndex((step) => step.kind === 'systemctl' && step.args[0] === verb);
  assert.ok(gone('/lib/systemd/system/skein.service') < told('daemon-reload'));
  assert.ok(gone('/lib/systemd/network/05-skein.network') < told('try-reload-or-restart'));
});

test('a socket of its own goes; without systemd, or broken off before, nothing is asked of it', () => {
  const settings = loadSettings(undefined, { socket: '/run/elsewhere.sock' });
  assert.ok(removed(plan({ settings })).includes('/run/elsewhere.sock'));
  assert.ok(plan({ hasUnit: false }).every((step) => step.kind !== 'systemctl'));
});

test('a member is told to leave first', () => {
  assert.equal(whyNot(facts), undefined);
  const why = whyNot({ ...facts, isMember: true });
  assert.match(why!, /docker -H unix:\/\/\/run\/skein\/skein\.sock swarm leave/);
  assert.equal(whyNot({ ...facts, isMember: true, force: true }), undefined);
});
