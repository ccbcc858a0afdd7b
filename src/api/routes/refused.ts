/** Engine endpoints that clients know and Skein does not serve: each says why, none hangs. */
import { json } from '../answer.ts';
import { pruneEvent } from '../events.ts';
import { notFound } from '../http-error.ts';
import type { Handler, Route } from '../router.ts';

const BUILD = 'images are not built here; build elsewhere and docker load or pull them';
const PLUGINS = 'there are no plugins';

const refuse = (method: Route['method'], words: string, ...paths: string[]): Route[] =>
  paths.map((path) => ({ method, path, handler: words }));

const noPlugin: Handler = (request) => {
  throw notFound(`plugin "${request.param('name')}" not found`);
};

export const refusedRoutes: readonly Route[] = [
  ...refuse('POST', 'images are not made from containers', '/commit'),
  ...refuse('GET', 'attach by an upgraded POST', '/containers/{id}/attach/ws'),
  ...refuse('POST', BUILD, '/build', '/build/cancel', '/session', '/grpc'),
  {
    method: 'POST',
    path: '/build/prune',
    handler: ({ backends }) => {
      backends.events.tell(pruneEvent('builder', 0));
      return json({ CachesDeleted: null, SpaceReclaimed: 0 });
    },
    note: 'Removes nothing: there is no build cache.',
  },
  { method: 'GET', path: '/plugins', handler: () => json([]), note: 'Always empty: there are no plugins.' },
  ...refuse('GET', PLUGINS, '/plugins/privileges'),
  { method: 'GET', path: '/plugins/{name*}/json', handler: noPlugin },
  { method: 'DELETE', path: '/plugins/{name*}', handler: noPlugin },
  ...refuse(
    'POST',
    PLUGINS,
    '/plugins/pull',
    '/plugins/create',
    '/plugins/{name*}/enable',
    '/plugins/{name*}/disable',
    '/plugins/{name*}/upgrade',
    '/plugins/{name*}/push',
    '/plugins/{name*}/set',
  ),
];
