/** Docker's JSON progress lines, of pull, push and load. */
import type { Answer } from './answer.ts';
import type { ImageInfo, PullProgress, PushedImage } from '../containerd/runtime.ts';
import { fullRepository, type Reference } from './convert/reference.ts';

export const progressLine = (line: object): Uint8Array => Buffer.from(`${JSON.stringify(line)}\r\n`);

export const progressAnswer = (chunks: AsyncIterable<Uint8Array>): Answer => ({
  kind: 'stream',
  contentType: 'application/json',
  chunks,
  eager: false, // a failure before the first line is still a status of its own
  failure: (message) => progressLine({ errorDetail: { message }, error: message }),
});

type Work<T> = (onProgress: (progress: PullProgress) => void) => Promise<T>;

/**
 * Batches of what has happened while the client took the last one; the result at the end. Progress that it is too slow
 * for is merged by layer, so what waits is bounded by the number of layers.
 */
async function* batches<T>(work: Work<T>): AsyncGenerator<readonly PullProgress[], T, undefined> {
  const waiting = new Map<string, PullProgress>();
  let wake = () => {};
  let done = false;
  const result = work((progress) => {
    waiting.set(progress.id, progress);
    wake();
  }).finally(() => {
    done = true;
    wake();
  });
  result.catch(() => {}); // thrown below; here only so that it is never unhandled
  while (!done || waiting.size > 0) {
    const batch = [...waiting.values()];
    waiting.clear();
    if (batch.length > 0) yield batch;
    if (!done && waiting.size === 0)
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
  }
  return result;
}

export interface PullOptions {
  readonly reference: Reference & { readonly full: string };
  readonly before: ImageInfo | undefined;
  readonly pull: Work<ImageInfo>;
}

/** Nothing before the first progress: what fails at once is a status of its own. */
export async function* pullLines(options: PullOptions): AsyncGenerator<Uint8Array, void, undefined> {
  const { reference } = options;
  const head = progressLine({
    status: `Pulling from ${reference.path}`,
    id: reference.tag ?? reference.digest,
  });
  let announced = false;
  const steps = batches(options.pull);
  let step = await steps.next();
  for (; !step.done; step = await steps.next()) {
    if (!announced) yield head;
    announced = true;
    for (const progress of step.value) yield progressLine(layerLine(progress));
  }
  if (!announced) yield head;
  yield* outcome(step.value, options);
}

/** Failures are lines too, as in Docker: the first line is out before the registry is asked. */
export async function* pushLines(
  reference: Reference,
  push: Work<PushedImage>,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield progressLine({ status: `The push refers to repository [${fullRepository(reference)}]` });
  const steps = batches(push);
  let step = await steps.next();
  for (; !step.done; step = await steps.next())
    for (const progress of step.value) yield progressLine(layerLine(progress));
  const { digest, size } = step.value;
  yield progressLine({ status: `${reference.tag}: digest: ${digest} size: ${size}` });
  yield progressLine({ progressDetail: {}, aux: { Tag: reference.tag, Digest: digest, Size: size } });
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
