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
import { createNetns, removeNetns } from '../../src/kit/netns.ts';
import { observe } from '../../src/net/observe.ts';
import { Places } from '../../src/net/places.ts';
import { type Desired, planNode } from '../../src/net/plan.ts';
import { renderBatches, renderNft } from '../../src/net/render.ts';

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

  for (const place of desired.tables.keys())
    test(`nft takes the text of the table, and it reads back as planned: ${name}, ${place.slice(0, 10)}`, () => {
      onEmptyNode(desired, (places, pathOf) => {
        run(pathOf(place), renderNft(desired, place), 'nft', '--check', '-f', '-');
        run(pathOf(place), renderNft(desired, place), 'nft', '-f', '-');
        assert.deepEqual(observe(places, [], [], [place]).nft.get(place), desired.nft.get(place));
        const fromText = run(pathOf(place), '', 'nft', 'list', 'table', 'ip', 'skein');
        // The same programmed message by message.
        run(pathOf(place), '', 'nft', 'flush', 'ruleset');
        const steps = diff(
          { ...desired, ...nothing, tables: new Map([[place, desired.tables.get(place)!]]) },
          { ...desired, ...nothing, nft: new Map() },
        );
        const executors = makeExecutors(places);
        for (const part of runs(steps)) execute(executors, part[0].kind, part, part[0].place);
        assert.deepEqual(
          sorted(run(pathOf(place), '', 'nft', 'list', 'table', 'ip', 'skein')),
          sorted(fromText),
        );
      });
    });

  test(`ip and bridge take the batches, and nothing is left to do: ${name}`, () => {
    onEmptyNode(desired, (places, pathOf) => {
      for (const batch of renderBatches(desired, pathOf))
        run(pathOf(batch.place), batch.lines.join('\n'), batch.tool, '-batch', '-');
      const steps = diff(
        { ...desired, sysctls: new Map(), tables: new Map() },
        observe(places, desired.netns, [], []),
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
  markRules: new Map(),
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
