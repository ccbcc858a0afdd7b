/**
 * The architecture, enforced: which folder may import which (docs/architecture.md, layers). A folder that is not
 * listed here fails, so a new one must be placed before it can be used.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const src = join(dirname(fileURLToPath(import.meta.url)), '..', 'src');

const BASE = ['model', 'kit'];
const ALLOWED: Record<string, readonly string[]> = {
  model: [],
  kit: ['model'],
  store: BASE,
  containerd: BASE,
  net: BASE,
  dns: BASE,
  rpc: BASE,
  manager: [...BASE, 'store', 'rpc'],
  agent: [...BASE, 'containerd', 'net', 'dns', 'rpc'],
  trace: [...BASE, 'net', 'rpc'],
  api: [...BASE, 'store', 'containerd', 'rpc'],
  daemon: [...BASE, 'store', 'containerd', 'net', 'dns', 'rpc', 'manager', 'agent', 'trace', 'api'],
  lab: [...BASE, 'containerd', 'net', 'trace', 'daemon'],
  cli: [...BASE, 'store', 'containerd', 'net', 'trace', 'lab', 'daemon'],
};

/** Files that decide and never act: no clock, randomness, environment or I/O. */
const PURE = /(^|\/)(plan|convert|explain|render)[\w-]*\.ts$|(^|\/)[\w-]*-plan\.ts$/;
const EFFECTS = [
  /from 'node:(fs|net|child_process|http|http2|os|dgram|worker_threads|timers)/,
  /\bDate\.now\(/,
  /\bMath\.random\(/,
  /\bprocess\.(env|pid|hrtime)/,
  /\bset(Timeout|Interval|Immediate)\(/,
];

const files = globSync('**/*.ts', { cwd: src }).filter((f) => !f.includes('/gen/'));
const importsOf = (file: string): string[] =>
  [...readFileSync(join(src, file), 'utf8').matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((m) =>
    normalize(join(dirname(file), m[1]!)),
  );

test('every import respects the layers', () => {
  const wrong: string[] = [];
  for (const file of files) {
    const folder = file.split('/')[0]!;
    const allowed = ALLOWED[folder];
    if (!allowed) {
      wrong.push(`${file}: folder ${folder} has no place in the layers`);
      continue;
    }
    for (const target of importsOf(file)) {
      const to = target.split('/')[0]!;
      if (to !== folder && !allowed.includes(to)) wrong.push(`${file} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('planners, converters and renderers are pure', () => {
  const wrong: string[] = [];
  for (const file of files.filter((f) => PURE.test(f) && !f.endsWith('.test.ts'))) {
    const text = readFileSync(join(src, file), 'utf8');
    for (const effect of EFFECTS) if (effect.test(text)) wrong.push(`${file} has ${effect}`);
  }
  assert.deepEqual(wrong, []);
});

test('no drawer for leftovers', () => {
  const drawers = files.filter((f) => /(^|\/)(utils?|helpers?|common|misc)(\.ts|\/)/.test(f));
  assert.deepEqual(drawers, []);
});

test('nothing runs through a shell', () => {
  const wrong = files.filter((f) => {
    const text = readFileSync(join(src, f), 'utf8');
    return (
      /shell:\s*true/.test(text) || /\bexec(Sync)?\(\s*[`'"]/.test(text) || /\['?(ba)?sh'?,\s*'-c'/.test(text)
    );
  });
  assert.deepEqual(wrong, []);
});
