/** Content of containerd: blobs by digest, read whole when small, written as a stream with bounded memory. */
import { createHash } from 'node:crypto';
import type { CallOptions } from '../kit/grpc.ts';
import { isCode, SkeinError } from '../model/errors.ts';
import { type ContainerdApi, unless } from './api.ts';
import { WriteAction } from './gen/content_pb.js';

/** Manifests and configs are far smaller; anything larger is not read into memory. */
const MAX_DOCUMENT = 8 * 1024 * 1024;
/** containerd takes messages of up to 4 MiB. */
const CHUNK = 1024 * 1024;
/** A write that makes no progress for so long has failed. */
const WRITE_TIMEOUT_MS = 600_000;

export async function readBlob(api: ContainerdApi, digest: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const { data } of api.content.read({ digest }, { timeoutMs: 60_000 })) {
    size += data.length;
    if (size > MAX_DOCUMENT)
      throw new SkeinError('invalid-argument', `${digest} is too large for an image document`);
    chunks.push(data);
  }
  return Buffer.concat(chunks);
}

/** As a stream; the reader may be as slow as it likes. */
export async function* blobContent(
  api: ContainerdApi,
  digest: string,
  signal?: AbortSignal,
): AsyncIterable<Uint8Array> {
  for await (const { data } of api.content.read({ digest }, signal ? { signal } : {})) yield data;
}

export async function hasBlob(api: ContainerdApi, digest: string): Promise<boolean> {
  return (await unless('not-found', api.content.info({ digest }))) !== undefined;
}

/** True if the blob is there; it is then in the caller's lease, so that it stays until something refers to it. */
export async function claimBlob(api: ContainerdApi, digest: string, options: CallOptions): Promise<boolean> {
  const found = await unless('not-found', api.content.info({ digest }));
  if (!found) return false;
  async function* nothing(): AsyncIterable<Uint8Array> {}
  await writeBlob(api, { ref: `skein-claim-${digest}`, digest }, nothing(), options).catch(() => undefined);
  return hasBlob(api, digest);
}

/** Labels tell containerd's collector what this blob refers to. */
export async function labelBlob(
  api: ContainerdApi,
  digest: string,
  labels: Record<string, string>,
): Promise<void> {
  const paths = Object.keys(labels).map((key) => `labels.${key}`);
  if (paths.length > 0) await api.content.update({ info: { digest, labels }, updateMask: { paths } });
}

export interface BlobTarget {
  /** Names the unfinished write: a later one of the same name goes on from where it stopped. */
  readonly ref: string;
  /** What it must turn out to be; without it the digest is computed on the way. */
  readonly digest?: string;
  readonly size?: number;
}

/** How many bytes of this unfinished write are there already. */
export async function writtenSoFar(api: ContainerdApi, ref: string): Promise<number> {
  const found = await unless('not-found', api.content.status({ ref }));
  return Number(found?.status?.offset ?? 0n);
}

/**
 * Writes a blob from `offset` on (what is before it is there already). Resolves when containerd has verified and
 * committed it, also when somebody else has done so; `unavailable` when less than `offset` is there, or it broke off. The
 * caller holds a lease: `options` carries it.
 */
export async function writeBlob(
  api: ContainerdApi,
  target: BlobTarget,
  source: AsyncIterable<Uint8Array>,
  options: CallOptions,
  offset = 0,
): Promise<{ digest: string; size: number }> {
  const call = api.content.write({ timeoutMs: WRITE_TIMEOUT_MS, ...options });
  const answers = call[Symbol.asyncIterator]();
  const ask = async (message: Parameters<typeof call.write>[0]) => {
    await call.write({ ref: target.ref, expected: target.digest ?? '', ...message });
    const answer = await answers.next();
    if (answer.done) throw new SkeinError('unavailable', 'containerd ended the write of a blob');
    return answer.value;
  };
  const hash = target.digest === undefined ? createHash('sha256') : undefined;
  let size = offset;
  let digest = target.digest ?? '';
  try {
    for await (const data of pieces(source)) {
      hash?.update(data);
      await ask({ action: WriteAction.WRITE, offset: BigInt(size), data, total: BigInt(target.size ?? 0) });
      size += data.length;
    }
    if (hash) digest = `sha256:${hash.digest('hex')}`;
    if (target.size !== undefined && target.size !== size)
      throw new SkeinError('unavailable', `${digest}: got ${size} bytes of ${target.size}`);
    await ask({
      action: WriteAction.COMMIT,
      offset: BigInt(size),
      total: BigInt(size),
      expected: digest,
    });
  } catch (error) {
    // containerd's collector takes away what a pull that failed had begun, be it between a look at it and this write.
    if (isCode(error, 'out-of-sequence'))
      throw new SkeinError('unavailable', `${digest}: what was there of it has gone`, { cause: error });
    if (!isCode(error, 'already-exists')) throw error;
  } finally {
    call.cancel();
  }
  return { digest, size };
}

async function* pieces(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  for await (const chunk of source)
    for (let at = 0; at < chunk.length; at += CHUNK) yield chunk.subarray(at, at + CHUNK);
}
