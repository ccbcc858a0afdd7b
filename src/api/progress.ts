/** Docker's JSON progress lines, of a pull and of a load. */
import type { Answer } from './answer.ts';
import type { ImageInfo, PullProgress } from '../containerd/runtime.ts';
import type { Reference } from './convert/reference.ts';

export const progressLine = (line: object): Uint8Array => Buffer.from(`${JSON.stringify(line)}\r\n`);

export const progressAnswer = (chunks: AsyncIterable<Uint8Array>): Answer => ({
  kind: 'stream',
  contentType: 'application/json',
  chunks,
  eager: false, // a failure before the first line is still a status of its own
  failure: (message) => progressLine({ errorDetail: { message }, error: message }),
});

export interface PullOptions {
  readonly reference: Reference & { readonly full: string };
  readonly before: ImageInfo | undefined;
  readonly pull: (onProgress: (progress: PullProgress) => void) => Promise<ImageInfo>;
}

/**
 * Lines of a pull. Progress that the client is too slow for is merged by layer, so what waits is bounded by the
 * number of layers.
 */
export async function* pullLines(options: PullOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { reference } = options;
  const waiting = new Map<string, PullProgress>();
  let wake = () => {};
  let done = false;
  const result = options
    .pull((progress) => {
      waiting.set(progress.id, progress);
      wake();
    })
    .finally(() => {
      done = true;
      wake();
    });
  result.catch(() => {}); // thrown below; here only so that it is never unhandled
  let announced = false;
  const head = progressLine({
    status: `Pulling from ${reference.path}`,
    id: reference.tag ?? reference.digest,
  });
  while (!done || waiting.size > 0) {
    const batch = [...waiting.values()];
    waiting.clear();
    if (batch.length > 0 && !announced) {
      announced = true;
      yield head;
    }
    for (const progress of batch) yield progressLine(layerLine(progress));
    if (!done && waiting.size === 0)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  }
  const image = await result;
  if (!announced) yield head;
  yield* outcome(image, options);
}

function* outcome(image: ImageInfo, { reference, before }: PullOptions): Generator<Uint8Array> {
  const digest = image.digests[0]?.split('@')[1];
  if (digest) yield progressLine({ status: `Digest: ${digest}` });
  const same = before?.id === image.id;
  yield progressLine({
    status: `Status: ${same ? 'Image is up to date for' : 'Downloaded newer image for'} ${reference.full}`,
  });
}

const layerLine = ({ id, status, current, total }: PullProgress): object => ({
  status,
  ...(current !== undefined && { progressDetail: { current, ...(total !== undefined && { total }) } }),
  id,
});
