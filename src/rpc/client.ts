/**
 * The calling end: one connection to one manager. Liveness is asked by HTTP/2 ping, so a peer that vanished without
 * a word is noticed although nothing is said; all of its calls then fail with `unavailable`.
 */
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import type { Clock } from '../kit/clock.ts';
import { SkeinError } from '../model/errors.ts';
import { checkOutcome, encodeFrame, frames, parseFrame } from './frame.ts';
import {
  type InputOf,
  type Method,
  type MethodName,
  METHODS,
  type OneName,
  type OutputOf,
  type ParamsOf,
} from './methods.ts';
import { clientOptions, type Trust } from './tls.ts';

export interface RpcClientOptions {
  /** `ip:port`. */
  readonly addr: string;
  readonly trust: Trust;
  readonly clock: Clock;
  readonly connectTimeoutMs?: number;
  /** A ping is sent this often, and must be answered within the same time. */
  readonly pingMs?: number;
  readonly signal?: AbortSignal;
}

export interface CallOptions<In> {
  /** Values after the parameters; the call's sending side ends when they do. */
  readonly input?: AsyncIterable<In>;
  readonly signal?: AbortSignal;
}

const WINDOW = 4 * 1024 * 1024;

export class RpcClient {
  readonly addr: string;
  readonly #session: ClientHttp2Session;
  readonly #clock: Clock;
  readonly #pingMs: number;
  #failure: Error | undefined;
  #cancelPing: (() => void) | undefined;

  private constructor(session: ClientHttp2Session, options: RpcClientOptions) {
    this.addr = options.addr;
    this.#session = session;
    this.#clock = options.clock;
    this.#pingMs = options.pingMs ?? 5000;
    session.on('error', (error) => (this.#failure ??= error));
    session.on('close', () => this.#cancelPing?.());
    this.#schedulePing();
  }

  static async connect(options: RpcClientOptions): Promise<RpcClient> {
    const { addr, trust, clock, signal } = options;
    const session = connect(`https://${addr}`, {
      ...clientOptions(trust),
      settings: { initialWindowSize: 1024 * 1024, enablePush: false },
      maxSessionMemory: 64,
    });
    const refuse = (message: string) => session.destroy(new SkeinError('unavailable', message));
    const cancel = clock.after(options.connectTimeoutMs ?? 5000, () => refuse('no answer in time'));
    const give = () => refuse('canceled');
    signal?.addEventListener('abort', give, { once: true });
    try {
      await once(session, 'connect', { signal });
      session.setLocalWindowSize(WINDOW);
      return new RpcClient(session, options);
    } catch (cause) {
      session.on('error', () => {});
      session.destroy();
      const text = cause instanceof Error ? cause.message : String(cause);
      throw new SkeinError('unavailable', `cannot reach the manager at ${addr}: ${text}`, {
        cause: cause instanceof Error ? cause : undefined,
      });
    } finally {
      cancel();
      signal?.removeEventListener('abort', give);
    }
  }

  async call<N extends OneName>(
    name: N,
    params: ParamsOf<N>,
    options: CallOptions<InputOf<N>> = {},
  ): Promise<OutputOf<N>> {
    let answer: { value: OutputOf<N> } | undefined;
    for await (const value of this.stream(name, params, options)) answer = { value };
    if (!answer) throw new SkeinError('internal', `${name} gave no answer`);
    return answer.value;
  }

  async *stream<N extends MethodName>(
    name: N,
    params: ParamsOf<N>,
    options: CallOptions<InputOf<N>> = {},
  ): AsyncGenerator<OutputOf<N>> {
    const method = METHODS[name] as unknown as Method<ParamsOf<N>, InputOf<N>, OutputOf<N>>;
    if (options.signal?.aborted) throw new SkeinError('canceled', `${name} was canceled`);
    if (this.#session.destroyed || this.#session.closed) throw this.#lost(name, undefined);
    const stream = this.#session.request({ ':method': 'POST', ':path': `/${name}` }, { endStream: false });
    let reason: SkeinError | undefined;
    const stop = (error: SkeinError) => {
      reason ??= error;
      stream.close(constants.NGHTTP2_CANCEL);
    };
    const cancel = () => stop(new SkeinError('canceled', `${name} was canceled`));
    const late = () => stop(new SkeinError('deadline-exceeded', `${name}: no answer in time`));
    options.signal?.addEventListener('abort', cancel, { once: true });
    const cancelDeadline =
      method.timeoutMs === undefined ? undefined : this.#clock.after(method.timeoutMs, late);
    stream.on('error', () => {});
    const sent = send(stream, params, options.input).catch((error) => stop(SkeinError.from(error)));
    try {
      let done = false;
      for await (const line of frames(stream as AsyncIterable<Buffer>)) {
        if (line.startsWith('!')) {
          checkOutcome(line);
          done = true;
          break;
        }
        yield parseFrame(method.output, line);
      }
      if (!done) throw reason ?? this.#lost(name, undefined);
    } catch (error) {
      throw error instanceof SkeinError ? error : (reason ?? this.#lost(name, error));
    } finally {
      cancelDeadline?.();
      options.signal?.removeEventListener('abort', cancel);
      if (!stream.closed) stream.close(constants.NGHTTP2_CANCEL);
      void sent;
    }
  }

  close(): void {
    this.#cancelPing?.();
    this.#session.destroy();
  }

  #lost(name: string, cause: unknown): SkeinError {
    const why = this.#failure ?? (cause instanceof Error ? cause : undefined);
    const text = why ? `: ${why.message}` : '';
    return new SkeinError('unavailable', `${name}: the connection to ${this.addr} was lost${text}`, {
      cause: why,
    });
  }

  #schedulePing(): void {
    this.#cancelPing = this.#clock.after(this.#pingMs, () => {
      if (this.#session.destroyed) return;
      const cancel = this.#clock.after(this.#pingMs, () =>
        this.#session.destroy(new SkeinError('unavailable', 'the manager does not answer')),
      );
      this.#cancelPing = cancel;
      this.#session.ping((error) => {
        cancel();
        if (!error && !this.#session.destroyed) this.#schedulePing();
      });
    });
  }
}

async function send(
  stream: ClientHttp2Stream,
  params: unknown,
  input?: AsyncIterable<unknown>,
): Promise<void> {
  if (!input) {
    stream.end(encodeFrame(params));
    return;
  }
  const gone = new AbortController();
  stream.once('close', () => gone.abort());
  stream.write(encodeFrame(params));
  for await (const value of input) {
    if (gone.signal.aborted || stream.closed) return;
    if (!stream.write(encodeFrame(value)))
      await once(stream, 'drain', { signal: gone.signal }).catch(() => undefined);
  }
  if (!stream.destroyed) stream.end();
}
