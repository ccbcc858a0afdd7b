/** docs/api.md, made from the route table, so that it cannot tell another story than the code. */
import { API_VERSION, MIN_API_VERSION } from './convert/info.ts';
import type { Route } from './router.ts';

export function renderApiDoc(routes: readonly Route[]): string {
  const served = routes.filter((route) => typeof route.handler !== 'string');
  const refused = routes.filter((route) => typeof route.handler === 'string');
  return [
    '# The Docker Engine API as Skein serves it',
    '',
    '<!-- Made by scripts/api-doc.ts from src/api/routes.ts; a test compares. Do not edit. -->',
    '',
    `Versions ${MIN_API_VERSION} to ${API_VERSION}, with and without the \`/vX.YZ\` prefix. \`{id}\` is one path element, \`{name*}\` one or more.`,
    '',
    '## Served',
    '',
    '| method | path | note |',
    '|---|---|---|',
    ...served.map(({ method, path, note }) => `| ${method} | \`${path}\` | ${note ?? ''} |`),
    '',
    '## Refused in words (501)',
    '',
    '| method | path | because |',
    '|---|---|---|',
    ...refused.map(({ method, path, handler }) => `| ${method} | \`${path}\` | ${String(handler)} |`),
    '',
    'Anything else is 404 `page not found`.',
    '',
  ].join('\n');
}
