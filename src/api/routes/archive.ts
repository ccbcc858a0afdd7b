/** Files of containers: `docker cp` both ways, `docker export`, `docker diff`. */
import { type Answer, empty, json, type StreamAnswer } from '../answer.ts';
import { goMode } from '../convert/file-mode.ts';
import { invalid } from '../http-error.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import type { PathStat } from '../../containerd/archive.ts';

/** Docker's header: the stat of the path, in base64. */
function statHeader({ name, size, mode, mtime, linkTarget }: PathStat): Readonly<Record<string, string>> {
  const stat = JSON.stringify({ name, size, mode: goMode(mode), mtime, linkTarget });
  return { 'X-Docker-Container-Path-Stat': Buffer.from(stat).toString('base64') };
}

function pathOf(request: ApiRequest): string {
  const path = request.text('path');
  if (path === '' || path.includes('\0')) throw invalid('bad parameter: missing or unusable path');
  return path.startsWith('/') ? path : `/${path}`;
}

const tarStream = (chunks: AsyncIterable<Uint8Array>, headers = {}): StreamAnswer => ({
  kind: 'stream',
  contentType: 'application/x-tar',
  headers,
  chunks,
  eager: false,
  failure: () => new Uint8Array(), // an archive that ends early is seen to be broken
});

async function stat(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { id } = await engine.container(request.param('id'));
  const headers = statHeader(await engine.archives.stat(id, pathOf(request)));
  return { kind: 'empty', status: 200, headers };
}

async function read(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { id } = await engine.container(request.param('id'));
  const path = pathOf(request);
  const found = await engine.archives.read(id, path);
  engine.control.announce(id, 'archive-path');
  return tarStream(found.tar, statHeader(found.stat));
}

async function write(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const asUser = request.flag('copyUIDGID');
  const path = pathOf(request);
  await engine.archives.write(container.id, path, request.stream, { asUser });
  engine.control.announce(container.id, 'extract-to-dir');
  return empty();
}

async function exported(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { id } = await engine.container(request.param('id'));
  const tar = await engine.archives.export(id);
  engine.control.announce(id, 'export');
  return tarStream(tar);
}

const KINDS = { modified: 0, added: 1, deleted: 2 } as const;

async function changes(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { id } = await engine.container(request.param('id'));
  const found = await engine.archives.changes(id);
  return json(found.length > 0 ? found.map(({ path, kind }) => ({ Path: path, Kind: KINDS[kind] })) : null);
}

export const archiveRoutes: readonly Route[] = [
  { method: 'HEAD', path: '/containers/{id}/archive', handler: stat },
  { method: 'GET', path: '/containers/{id}/archive', handler: read, note: 'Without extended attributes.' },
  {
    method: 'PUT',
    path: '/containers/{id}/archive',
    handler: write,
    note: 'Plain tar. A folder is never replaced by a file, whatever `noOverwriteDirNonDir` says.',
  },
  { method: 'GET', path: '/containers/{id}/export', handler: exported },
  { method: 'GET', path: '/containers/{id}/changes', handler: changes },
];
