/**
 * rpc/: what nodes say to each other, and how (docs/adr/0003). manager/ answers, agent/ and daemon/ call. If it
 * lies about who the peer is, a worker reads what is not its own; if it loses a message of a stream, an agent works
 * on a picture that never was. So a stream is in order and whole, or it ends with an error.
 *
 * One node more costs a manager one connection and one stream; nothing is kept for a peer that is gone.
 *
 * This file: frames. A frame is one JSON value and a newline; the last frame of an answer starts with `!` and is
 * the outcome of the call. Frames are bounded, a stranger's more than a member's, so no peer can fill the memory.
 */
import { z } from 'zod';
import { ERROR_CODES, SkeinError } from '../model/errors.ts';
import type { NodeId } from '../model/ids.ts';
import type { ManagerAddress } from './messages.ts';

export const MAX_FRAME = 16 * 1024 * 1024;

/** A value that was encoded already: shared by all streams that carry it. */
export class Encoded {
  readonly line: Buffer;

  constructor(json: string) {
    this.line = Buffer.from(`${json}\n`);
  }
}

export function encodeFrame(value: unknown): Buffer {
  const line = value instanceof Encoded ? value.line : Buffer.from(`${JSON.stringify(value)}\n`);
  if (line.length > MAX_FRAME)
    throw new SkeinError('resource-exhausted', `a message of ${line.length} bytes is over the limit`);
  return line;
}

/** Splits a byte stream into lines; an unfinished line at the end is dropped, its stream was cut. */
export async function* frames(stream: AsyncIterable<Buffer>, limit = MAX_FRAME): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    let from = 0;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
      parts.push(chunk.subarray(from, at));
      yield Buffer.concat(parts).toString();
      parts = [];
      size = 0;
      from = at + 1;
    }
    if (from < chunk.length) parts.push(chunk.subarray(from));
    size += chunk.length - from;
    if (size > limit) throw new SkeinError('resource-exhausted', 'the peer sent a message over the limit');
  }
}

export function parseFrame<T>(schema: z.ZodType<T>, text: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new SkeinError('invalid-argument', 'the peer sent what is no JSON', { cause });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SkeinError('invalid-argument', `unexpected message: ${z.prettifyError(result.error)}`);
}

/** The refusal of a manager that does not lead; says who does, so that the caller dials it at once. */
export const notLeader = (leader: ManagerAddress | undefined): SkeinError =>
  new SkeinError('unavailable', 'this manager is not the leader', { cause: { leader } });

/** The leader that a refusal named, if it was such a refusal and named one. */
export function leaderIn(error: unknown): ManagerAddress | undefined {
  const cause = error instanceof SkeinError ? error.cause : undefined;
  return cause instanceof Error ? undefined : (cause as { leader?: ManagerAddress } | undefined)?.leader;
}

const OUTCOME = z.object({
  code: z.string().optional(),
  message: z.string().optional(),
  leader: z.object({ nodeId: z.string(), addr: z.string() }).optional(),
});

export function encodeOutcome(error?: unknown): Buffer {
  if (error === undefined) return Buffer.from('!{}\n');
  const { code, message } = SkeinError.from(error);
  return Buffer.from(`!${JSON.stringify({ code, message, leader: leaderIn(error) })}\n`);
}

/** Throws what the outcome says, if that is an error. */
export function checkOutcome(line: string): void {
  const { code, message = '', leader } = parseFrame(OUTCOME, line.slice(1));
  if (code === undefined) return;
  const known = ERROR_CODES.find((one) => one === code) ?? 'internal';
  throw new SkeinError(
    known,
    message,
    leader && { cause: { leader: { nodeId: leader.nodeId as NodeId, addr: leader.addr } } },
  );
}
