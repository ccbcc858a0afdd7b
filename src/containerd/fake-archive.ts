/** A `docker save` archive as FakeImages loads and saves it: its names, enough to refuse what is none. */
import { Readable } from 'node:stream';
import { extract, pack } from 'tar-stream';
import { SkeinError } from '../model/errors.ts';
import { parseArchiveManifest } from './image-format.ts';

export async function loadedNames(archive: AsyncIterable<Uint8Array>): Promise<string[]> {
  const tar = extract();
  const input = Readable.from(archive, { objectMode: false });
  input.on('error', (error) => tar.destroy(error));
  input.pipe(tar);
  try {
    for await (const entry of tar) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of entry as unknown as AsyncIterable<Uint8Array>) chunks.push(chunk);
      if (entry.header.name === 'manifest.json')
        return parseArchiveManifest(Buffer.concat(chunks)).flatMap((image) => image.RepoTags ?? []);
    }
  } catch (cause) {
    throw SkeinError.from(cause).code === 'invalid-argument'
      ? cause
      : new SkeinError('invalid-argument', `invalid archive: ${SkeinError.from(cause).message}`, { cause });
  }
  throw new SkeinError('invalid-argument', 'invalid archive: does not contain a manifest.json');
}

export function savedArchive(list: readonly object[]): AsyncIterable<Uint8Array> {
  const tar = pack();
  tar.entry({ name: 'manifest.json' }, JSON.stringify(list));
  tar.finalize();
  return tar as unknown as AsyncIterable<Uint8Array>;
}
