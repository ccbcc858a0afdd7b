/** Writes docs/api.md from the route table: `node scripts/api-doc.ts`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { renderApiDoc } from '../src/api/doc.ts';
import { routes } from '../src/api/routes.ts';

writeFileSync(join(import.meta.dirname, '..', 'docs', 'api.md'), renderApiDoc(routes));
