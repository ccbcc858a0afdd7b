/**
 * The plan as text (what golden files hold) and the plan as programmed are the same thing: every case is loaded with
 * `nft`, `ip` and `bridge`, and the difference to what the reconciler wants is empty.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { CASES, facts } from '../../src/net/cases.ts';
import { diff } from '../../src/net/diff-plan.ts';
import { execute, makeExecutors, runs } from '../../src/net/executors.ts';
import { createNetns, removeNetns } from '../../src/net/netns.ts';
import { observe } from '../../src/net/observe.ts';
import { Places } from '../../src/net/places.ts';
import { type Desired, planNode } from '../../src/net/plan.ts';
import { renderBatches, renderNft } from '../../src/net/render.ts';
import { emptyNft } from '../../src/net/state.ts';

/** Runs `fn` on a machine with the namespaces of a plan and nothing in them. */
function onEmptyNode(
  desired: Desired,
  fn: (places: Places, pathOf: (place: string) => string) => void,
): void {
  const folder = mkdtempSync(join(tmpdir(), 'skein-net-text-'));
  const places = new Places(folder, join(folder, 'root'));
  const pathOf = (place: string) => (place === 'root' ? join(folder, 'root') : join(folder, 'netns', place));
  try {
    for (const place of desired.netns) createNetns(pathOf(place));
    fn(places, pathOf);
  } finally {
    places.close();
    for (const place of desired.netns) removeNetns(pathOf(place));
    rmSync(folder, { recursive: true, force: true });
  }
}

const run = (netns: string, input: string, ...argv: string[]) =>
  execFileSync('nsenter', [`--net=${netns}`, ...argv], { input, encoding: 'utf8' });

for (const [name, { view, sandboxes }] of Object.entries(CASES)) {
  const desired = planNode(view, sandboxes, facts);

  test(`nft takes the text of the table, and it reads back as planned: ${name}`, () => {
    onEmptyNode(desired, (places, pathOf) => {
      run(pathOf('root'), renderNft(desired), 'nft', '--check', '-f', '-');
      run(pathOf('root'), renderNft(desired), 'nft', '-f', '-');
      assert.deepEqual(observe(places, [], [], true).nft, desired.nft);
      const fromText = run(pathOf('root'), '', 'nft', 'list', 'table', 'ip', 'skein');
      // The same programmed message by message.
      run(pathOf('root'), '', 'nft', 'flush', 'ruleset');
      const steps = diff(
        { ...desired, ...nothing, table: desired.table },
        { ...desired, ...nothing, nft: emptyNft },
      );
      const executors = makeExecutors(places);
      for (const part of runs(steps)) execute(executors, part[0].kind, part, part[0].place);
      assert.deepEqual(
        sorted(run(pathOf('root'), '', 'nft', 'list', 'table', 'ip', 'skein')),
        sorted(fromText),
      );
    });
  });

  test(`ip and bridge take the batches, and nothing is left to do: ${name}`, () => {
    onEmptyNode(desired, (places, pathOf) => {
      for (const batch of renderBatches(desired, pathOf))
        run(pathOf(batch.place), batch.lines.join('\n'), batch.tool, '-batch', '-');
      const steps = diff(
        { ...desired, sysctls: new Map(), table: undefined },
        observe(places, desired.netns, [], false),
      );
      assert.deepEqual(steps, []);
    });
  });
}

const nothing = {
  links: new Map(),
  addresses: new Map(),
  neighbours: new Map(),
  fdb: new Map(),
  routes: new Map(),
  sysctls: new Map(),
};

/** Order of chains and elements is the kernel's own. */
const sorted = (listing: string): string[] =>
  listing
    .split('\n')
    .map((line) =>
      line
        .trim()
        .replace(/^elements = \{ /, '')
        .replace(/[, }]+$/, ''),
    )
    .sort();
