/** The host's firewall where its own programs are not installed: rules of a container's iptables, and none at all. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { RunProcess } from '../kit/process.ts';
import { SkeinError } from '../model/errors.ts';
import { HostFirewall } from './firewall.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-firewall-'));
after(() => rmSync(folder, { recursive: true }));
const legacyTables = join(folder, 'ip_tables_names');
writeFileSync(legacyTables, 'nat\nfilter\n');

const FILTER = { family: 'ip', name: 'filter' };
const FORWARD = { ...FILTER, name: 'FORWARD', hook: 'forward', policy: 'drop', type: 'filter' };

/** A host whose nft shows what somebody's iptables made. */
const host =
  (installed: (program: string) => boolean, asked: string[] = []): RunProcess =>
  ([program = '', ...args]) => {
    asked.push([program, ...args].join(' '));
    if (program === 'nft') {
      const nftables = args.includes('tables') ? [{ table: FILTER }] : [{ chain: FORWARD }];
      const stdout = args[0] === '-j' ? JSON.stringify({ nftables }) : '';
      return Promise.resolve({ code: 0, stdout, stderr: '' });
    }
    if (installed(program)) return Promise.resolve({ code: 0, stdout: '-P FORWARD DROP\n', stderr: '' });
    const cause = Object.assign(new Error(`spawn ${program} ENOENT`), { code: 'ENOENT' });
    return Promise.reject(new SkeinError('internal', cause.message, { cause }));
  };

test('without iptables, what nft shows of it is kept by nft, and what only it could show is told as unseen', async () => {
  const asked: string[] = [];
  const firewall = new HostFirewall(
    host(() => false, asked),
    legacyTables,
  );
  const { chains, inserted } = await firewall.keep();
  assert.deepEqual(
    chains.map(({ keeper, name, policy }) => [keeper, name, policy]),
    [['nft', 'FORWARD', 'drop']],
  );
  assert.ok(inserted > 0);
  assert.ok(asked.some((line) => line.startsWith('nft insert rule ip filter FORWARD oifname sk-ingress')));
  await firewall.remove();
  assert.equal(await firewall.cannotSeeAll(), true);
});

test('with iptables, each of its backends shows its own', async () => {
  const firewall = new HostFirewall(
    host(() => true),
    legacyTables,
  );
  const keepers = new Set((await firewall.look()).map(({ keeper }) => keeper));
  assert.deepEqual([...keepers], ['iptables-legacy', 'iptables-nft']);
  assert.equal(await firewall.cannotSeeAll(), false);
});

test('a program that fails is a failure', async () => {
  const run: RunProcess = (argv) =>
    argv[0] === 'nft' ? host(() => true)(argv) : Promise.reject(new SkeinError('internal', 'exit 4'));
  await assert.rejects(new HostFirewall(run, legacyTables).look(), /exit 4/);
});

test('a host without tables of iptables-legacy is not asked for them', async () => {
  const asked: string[] = [];
  const firewall = new HostFirewall(
    host(() => true, asked),
    join(folder, 'none'),
  );
  await firewall.look();
  assert.equal(await firewall.cannotSeeAll(), false);
  assert.ok(!asked.some((line) => line.startsWith('iptables-legacy')));
});
