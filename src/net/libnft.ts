/**
 * libnftables in process: the language of `nft` without a fork. A context binds its netlink socket to the namespace
 * it is made in, so each namespace has one of its own.
 *
 * INVARIANT: its socket has a descriptor below 1024. It waits with select(2), whose sets end there, and the C library
 * ends the process of whoever asks for more. A few low ones are kept free for it, and whoever holds thousands (the port
 * holder) takes them above.
 */
import { closeSync, openSync } from 'node:fs';
import { SkeinError } from '../model/errors.ts';
import { loadKoffi } from '../kit/libc.ts';

interface Library {
  create(flags: number): unknown;
  free(context: unknown): void;
  bufferOutput(context: unknown): number;
  bufferError(context: unknown): number;
  output(context: unknown): string | null;
  error(context: unknown): string | null;
  run(context: unknown, commands: string): number;
  setDryRun(context: unknown, dry: boolean): void;
  /** Low descriptors that are kept for contexts. */
  readonly reserved: number[];
}

let library: Library | undefined;

function loadLibrary(): Library {
  if (library) return library;
  const lib = loadKoffi().load('libnftables.so.1');
  library = {
    create: lib.func('void *nft_ctx_new(uint32_t flags)'),
    free: lib.func('void nft_ctx_free(void *context)'),
    bufferOutput: lib.func('int nft_ctx_buffer_output(void *context)'),
    bufferError: lib.func('int nft_ctx_buffer_error(void *context)'),
    output: lib.func('str nft_ctx_get_output_buffer(void *context)'),
    error: lib.func('str nft_ctx_get_error_buffer(void *context)'),
    run: lib.func('int nft_run_cmd_from_buffer(void *context, str commands)'),
    setDryRun: lib.func('void nft_ctx_set_dry_run(void *context, bool dry)'),
    reserved: Array.from({ length: RESERVED }, reserve),
  };
  return library;
}

/** What select(2) can wait for: FD_SETSIZE. */
export const LOW_DESCRIPTORS = 1024;
/** More than there are contexts at a time: the root's, and those that wait to be closed. */
const RESERVED = 32;

export class LibNft {
  readonly #context: unknown;

  /** Make it inside the namespace it is for (`inNetns`). */
  constructor() {
    const lib = loadLibrary();
    makeRoom(lib.reserved);
    this.#context = lib.create(0);
    if (!this.#context) throw new SkeinError('internal', 'libnftables: cannot make a context');
    lib.bufferOutput(this.#context);
    lib.bufferError(this.#context);
  }

  /** Runs the commands as one transaction: all or nothing. Gives what they print. */
  run(commands: string): string {
    const lib = loadLibrary();
    const failed = lib.run(this.#context, commands) !== 0;
    const output = lib.output(this.#context) ?? '';
    const error = lib.error(this.#context) ?? '';
    if (failed) throw new SkeinError('internal', `nft: ${error.trim()}`);
    return output;
  }

  /** The text of the error that the kernel or the parser would give; empty when all is well. */
  check(commands: string): string {
    loadLibrary().setDryRun(this.#context, true);
    try {
      this.run(commands);
      return '';
    } catch (error) {
      return SkeinError.from(error).message;
    } finally {
      loadLibrary().setDryRun(this.#context, false);
    }
  }

  close(): void {
    const lib = loadLibrary();
    lib.free(this.#context);
    if (lib.reserved.length < RESERVED) lib.reserved.push(reserve());
  }
}

/** The lowest free descriptor, held. */
function reserve(): number {
  return openSync('/dev/null', 'r');
}

/** So that whatever is opened next has a descriptor below 1024. */
function makeRoom(reserved: number[]): void {
  const next = reserve();
  closeSync(next);
  if (next < LOW_DESCRIPTORS) return;
  const fd = reserved.pop();
  if (fd === undefined || fd >= LOW_DESCRIPTORS)
    throw new SkeinError('resource-exhausted', 'libnftables: no file descriptor below 1024 is free');
  closeSync(fd);
}
