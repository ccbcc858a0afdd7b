/** Files of containers from outside: `docker cp` both ways, export, diff. One interface with a fake beside the real thing. */
import type { ContainerId } from '../model/ids.ts';

export interface PathStat {
  /** Its last element. */
  readonly name: string;
  readonly size: number;
  /** As the kernel has it, with the kind of file. */
  readonly mode: number;
  readonly mtime: string;
  /** Where a link leads inside the container; empty for anything else. */
  readonly linkTarget: string;
}

export interface Change {
  readonly path: string;
  readonly kind: 'modified' | 'added' | 'deleted';
}

export interface ContainerArchives {
  /** `not-found` in Docker's words. A link that is the last element is not followed, unless the path ends in `/`. */
  stat(id: ContainerId, path: string): Promise<PathStat>;
  /** The file, or the folder with what is in it, as tar, named by the last element of the path. */
  read(
    id: ContainerId,
    path: string,
  ): Promise<{ readonly stat: PathStat; readonly tar: AsyncIterable<Uint8Array> }>;
  /** Unpacks a tar archive in a folder; `asUser`: everything belongs to the container's user then. */
  write(
    id: ContainerId,
    path: string,
    tar: AsyncIterable<Uint8Array>,
    options: { readonly asUser: boolean },
  ): Promise<void>;
  /** The container's own files, without its volumes. */
  export(id: ContainerId): Promise<AsyncIterable<Uint8Array>>;
  /** Against its image. */
  changes(id: ContainerId): Promise<readonly Change[]>;
}
