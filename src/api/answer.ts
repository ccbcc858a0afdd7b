import type { Readable } from 'node:stream';

/** What a handler gives back: a value. writer.ts and hijack.ts alone write to a socket. */
export type Answer =
  | { readonly kind: 'json'; readonly status: number; readonly body: unknown }
  | { readonly kind: 'empty'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: 'text'; readonly status: number; readonly text: string }
  | StreamAnswer
  | DuplexAnswer;

export interface StreamAnswer {
  readonly kind: 'stream';
  readonly contentType: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Send the head at once: the client waits for it while there is nothing to say yet. */
  readonly eager: boolean;
  /** How an error looks once the head is out. */
  readonly failure: (message: string) => Uint8Array;
}

/** The other end of a connection that was taken over. */
export interface Peer {
  /** What the client sends; ends when it closes its half. Empty where the request did not ask for an upgrade. */
  readonly input: Readable;
  /** Resolves when the client has taken it, so that a slow client slows the source. */
  write(chunk: Uint8Array): Promise<void>;
  /** The client is gone, or the server closes. */
  readonly signal: AbortSignal;
}

export interface DuplexAnswer {
  readonly kind: 'duplex';
  readonly contentType: string;
  /** The connection is closed when it returns. */
  readonly talk: (peer: Peer) => Promise<void>;
}

export const json = (body: unknown, status = 200): Answer => ({ kind: 'json', status, body });
export const empty = (status = 200): Answer => ({ kind: 'empty', status });
export const text = (content: string): Answer => ({ kind: 'text', status: 200, text: content });
