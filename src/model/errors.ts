/**
 * The one error class of Skein. Codes are a closed set (the classes of containerd's errdefs); the API maps each to
 * one HTTP status, rpc carries the code as it is. An expected "no" (unschedulable, not ready yet) is a returned
 * value, never an error.
 */
export const ERROR_CODES = [
  'invalid-argument', // the caller said something that can never work
  'not-found',
  'already-exists', // a name, port or address is taken
  'failed-precondition', // right request, wrong state of the object (in use, not a manager)
  'out-of-sequence', // the version the caller saw is stale
  'permission-denied',
  'unauthenticated',
  'resource-exhausted',
  'unimplemented', // Skein does not serve this, and says so
  'unavailable', // try again later
  'deadline-exceeded',
  'canceled',
  'internal',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export class SkeinError extends Error {
  override readonly name = 'SkeinError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }

  /** Converts whatever was thrown into a SkeinError; the single place where the unknown becomes known. */
  static from(thrown: unknown, context = ''): SkeinError {
    if (thrown instanceof SkeinError) return thrown;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    const code: ErrorCode = thrown instanceof Error && thrown.name === 'AbortError' ? 'canceled' : 'internal';
    return new SkeinError(code, context ? `${context}: ${text}` : text, { cause: thrown });
  }
}

export const isCode = (thrown: unknown, ...codes: ErrorCode[]): boolean =>
  thrown instanceof SkeinError && codes.includes(thrown.code);
