/**
 * protobuf-es messages over grpc-js: one typed function a method, promises for single answers, async iterables for
 * streams, and the one place where a grpc status becomes a SkeinError. Every unary call has a deadline; a stream has
 * one only when asked, and ends when its signal aborts or its consumer stops iterating.
 */
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf';
import type { GenService, GenServiceMethods } from '@bufbuild/protobuf/codegenv2';
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  credentials,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { type ErrorCode, SkeinError } from '../model/errors.ts';

export interface CallOptions {
  /** Deadline of this call in ms; unary calls have the channel's default. */
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** An open call in both directions. Iterate it for the answers; breaking out of the loop cancels the call. */
export interface BidiCall<I extends DescMessage, O extends DescMessage>
  extends AsyncIterable<MessageShape<O>> {
  /** Resolves when the message was taken, so that a fast writer waits for a slow peer. */
  write(message: MessageInitShape<I>): Promise<void>;
  /** No more messages from this side. */
  end(): void;
  cancel(): void;
}

type Call<M> = M extends {
  methodKind: infer Kind;
  input: infer I extends DescMessage;
  output: infer O extends DescMessage;
}
  ? Kind extends 'unary'
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : Kind extends 'server_streaming'
      ? (request: MessageInitShape<I>, options?: CallOptions) => AsyncIterable<MessageShape<O>>
      : Kind extends 'bidi_streaming'
        ? (options?: CallOptions) => BidiCall<I, O>
        : never
  : never;

/** The client of a service: its methods by their protobuf-es names. */
export type Rpc<Methods extends GenServiceMethods> = { readonly [K in keyof Methods]: Call<Methods[K]> };

export interface ChannelSettings {
  /** As grpc-js takes it: `unix:/path`, `host:port`, `ipv4:a,b,c`. */
  readonly target: string;
  readonly credentials?: ChannelCredentials;
  readonly options?: ChannelOptions;
  /** Sent with every call. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Deadline of unary calls that name none; 30 s unless given. */
  readonly timeoutMs?: number;
  /** A peer that restarts is waited for, up to the deadline, instead of failing at once. */
  readonly waitForReady?: boolean;
  /** In front of error texts: "containerd". */
  readonly name: string;
}

const CODES: Readonly<Record<number, ErrorCode>> = {
  1: 'canceled',
  3: 'invalid-argument',
  4: 'deadline-exceeded',
  5: 'not-found',
  6: 'already-exists',
  7: 'permission-denied',
  8: 'resource-exhausted',
  9: 'failed-precondition',
  10: 'unavailable', // ABORTED: the same request may succeed when repeated
  11: 'out-of-sequence', // OUT_OF_RANGE: a position that is no longer, or not yet, there
  12: 'unimplemented',
  14: 'unavailable',
  16: 'unauthenticated',
};

/** What grpc-js says when it gives up waiting by itself; with a list of inner names and times behind it. */
const NO_ANSWER = /^Deadline exceeded after ([\d.]+)s/;
/** What a peer in Go says of our deadline where it is the first to notice, under a code that says nothing. */
const GAVE_UP = /\bcontext deadline exceeded\b/;
const UNKNOWN = 2;

/** What grpc-js throws, as a SkeinError: the text is the peer's own, or that there was none. */
function grpcError(thrown: unknown, context: string): SkeinError {
  const error = thrown as Partial<ServiceError>;
  if (thrown instanceof SkeinError || typeof error?.code !== 'number')
    return SkeinError.from(thrown, context);
  const said = error.details || error.message || '';
  const waited = NO_ANSWER.exec(said)?.[1];
  const text = waited ? `no answer within ${Math.round(Number(waited))} s; it hangs or is overloaded` : said;
  const late = error.code === UNKNOWN && GAVE_UP.test(said);
  const code = late ? 'deadline-exceeded' : (CODES[error.code] ?? 'internal');
  return new SkeinError(code, `${context}: ${text}`, { cause: thrown });
}

/** One connection to one peer; grpc-js reconnects by itself when the peer comes back. */
export class GrpcChannel {
  readonly #client: Client;
  readonly #settings: ChannelSettings;

  constructor(settings: ChannelSettings) {
    this.#settings = settings;
    this.#client = new Client(settings.target, settings.credentials ?? credentials.createInsecure(), {
      'grpc.max_receive_message_length': 64 * 1024 * 1024,
      // A local daemon that was restarted is back within a second: do not sit out the default backoff of up to 2 min.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      ...settings.options,
    });
  }

  /** The typed client of one service; `headers` are added to the channel's. */
  service<Methods extends GenServiceMethods>(service: GenService<Methods>): Rpc<Methods> {
    const calls: Record<string, unknown> = {};
    for (const method of service.methods) calls[method.localName] = this.#call(method);
    return calls as Rpc<Methods>;
  }

  close(): void {
    this.#client.close();
  }

  #call(method: DescMethod): unknown {
    switch (method.methodKind) {
      case 'unary':
        return (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
          this.#unary(method, request, options ?? {});
      case 'server_streaming':
        return (request: MessageInitShape<DescMessage>, options?: CallOptions) =>
          this.#serverStream(method, request, options ?? {});
      case 'bidi_streaming':
        return (options?: CallOptions) => this.#bidi(method, options ?? {});
      case 'client_streaming':
        return () => {
          throw new SkeinError('unimplemented', `${method.name}: client streaming is not used here`);
        };
    }
  }

  #unary(method: DescMethod, request: MessageInitShape<DescMessage>, options: CallOptions): Promise<unknown> {
    const { path, serialize, deserialize, context } = this.#codec(method);
    if (options.signal?.aborted) return Promise.reject(new SkeinError('canceled', `${context}: canceled`));
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        path,
        serialize,
        deserialize,
        request,
        this.#metadata(options),
        { deadline: Date.now() + (options.timeoutMs ?? this.#settings.timeoutMs ?? 30_000) },
        (error, answer) => {
          options.signal?.removeEventListener('abort', cancel);
          if (error) reject(grpcError(error, context));
          else resolve(answer);
        },
      );
      const cancel = () => call.cancel();
      options.signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  async *#serverStream(
    method: DescMethod,
    request: MessageInitShape<DescMessage>,
    options: CallOptions,
  ): AsyncIterable<unknown> {
    const { path, serialize, deserialize, context } = this.#codec(method);
    const call = this.#client.makeServerStreamRequest(
      path,
      serialize,
      deserialize,
      request,
      this.#metadata(options),
      options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs },
    );
    yield* answers(call, context, options.signal);
  }

  #bidi(method: DescMethod, options: CallOptions): BidiCall<DescMessage, DescMessage> {
    const { path, serialize, deserialize, context } = this.#codec(method);
    const call: ClientDuplexStream<
      MessageInitShape<DescMessage>,
      MessageShape<DescMessage>
    > = this.#client.makeBidiStreamRequest(
      path,
      serialize,
      deserialize,
      this.#metadata(options),
      options.timeoutMs === undefined ? {} : { deadline: Date.now() + options.timeoutMs },
    );
    call.on('error', () => {}); // a call that is only written to: the writer sees its own failure
    return {
      write: (message) =>
        new Promise((resolve, reject) => {
          call.write(message, (error: Error | null | undefined) => {
            if (error) reject(grpcError(error, context));
            else resolve();
          });
        }),
      end: () => call.end(),
      cancel: () => call.cancel(),
      [Symbol.asyncIterator]: () => answers(call, context, options.signal)[Symbol.asyncIterator](),
    };
  }

  #codec(method: DescMethod) {
    return {
      path: `/${method.parent.typeName}/${method.name}`,
      context: `${this.#settings.name}: ${method.parent.name}.${method.name}`,
      serialize: (message: MessageInitShape<DescMessage>) =>
        Buffer.from(toBinary(method.input, create(method.input, message))),
      deserialize: (bytes: Buffer) => fromBinary(method.output, bytes),
    };
  }

  #metadata(options: CallOptions): Metadata {
    const metadata = new Metadata({ waitForReady: this.#settings.waitForReady ?? false });
    for (const [key, value] of Object.entries({ ...this.#settings.headers, ...options.headers }))
      metadata.set(key, value);
    return metadata;
  }
}

async function* answers<T>(
  call: AsyncIterable<T> & { cancel(): void; on(event: 'error', listener: () => void): unknown },
  context: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<T> {
  call.on('error', () => {}); // a status that comes after the iteration ended has nobody to tell
  const cancel = () => call.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    for await (const message of call) yield message;
  } catch (error) {
    throw grpcError(error, context);
  } finally {
    signal?.removeEventListener('abort', cancel);
    cancel();
  }
}
