/** Files of containers in memory: what was copied in comes out again, by its path. Only plain files, no folders. */
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';
import type { Change, ContainerArchives, PathStat } from './archive.ts';
import { padding, TAR_END, tarHeader } from './tar-header.ts';

const FOLDER = 0o40755;
const FILE = 0o100644;
const MTIME = '2026-01-01T00:00:00.000Z';

export class FakeArchives implements ContainerArchives {
  /** Content by path, of all containers. Every other path with a trailing slash, and the root, is a folder. */
  readonly files = new Map<string, string>();
  readonly #changes: Change[] = [];

  async stat(_id: ContainerId, path: string): Promise<PathStat> {
    const common = { mtime: MTIME, linkTarget: '', name: path.split('/').at(-1) || '/' };
    const content = this.files.get(path);
    if (content !== undefined) return { ...common, size: Buffer.byteLength(content), mode: FILE };
    if (!path.endsWith('/') && path !== '/tmp')
      throw new SkeinError('not-found', `Could not find the file ${path} in container fake`);
    return { ...common, size: 0, mode: FOLDER };
  }

  async read(id: ContainerId, path: string) {
    const stat = await this.stat(id, path);
    return { stat, tar: this.#tar(stat.name, this.files.get(path) ?? '') };
  }

  async write(_id: ContainerId, path: string, tar: AsyncIterable<Uint8Array>): Promise<void> {
    const entries = Readable.from(tar, { objectMode: false }).pipe(extract());
    for await (const entry of entries) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
      const at = `${path.replace(/\/$/, '')}/${entry.header.name}`;
      this.files.set(at, Buffer.concat(chunks).toString());
      this.#changes.push({ path: at, kind: 'added' });
    }
  }

  async export(): Promise<AsyncIterable<Uint8Array>> {
    return this.#tar('etc', '');
  }

  async changes(): Promise<readonly Change[]> {
    return this.#changes;
  }

  async *#tar(name: string, content: string): AsyncGenerator<Uint8Array, void, undefined> {
    const bytes = Buffer.from(content);
    yield tarHeader({ type: 'file', name, mode: 0o644, uid: 0, gid: 0, size: bytes.length, mtime: 0 });
    yield bytes;
    yield padding(bytes.length);
    yield TAR_END;
  }
}
