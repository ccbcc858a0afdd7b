import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { renderApiDoc } from './doc.ts';
import { routes } from './routes.ts';

test('docs/api.md is what the route table says (node scripts/api-doc.ts makes it again)', () => {
  const written = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'api.md'), 'utf8');
  assert.equal(written, renderApiDoc(routes));
});

test('no route stands twice in the table', () => {
  const names = routes.map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(names, [...new Set(names)]);
});
