/** The one map from SkeinError to HTTP, and the refusals that the API itself words as Docker does. */
import { type ErrorCode, SkeinError } from '../model/errors.ts';

const STATUS: Readonly<Record<ErrorCode, number>> = {
  'invalid-argument': 400,
  'not-found': 404,
  'already-exists': 409,
  'failed-precondition': 409,
  'out-of-sequence': 500, // as Swarm answers: "rpc error: code = Unknown desc = update out of sequence"
  'permission-denied': 403,
  unauthenticated: 401,
  'resource-exhausted': 413,
  unimplemented: 501,
  unavailable: 503,
  'deadline-exceeded': 504,
  canceled: 499,
  internal: 500,
};

/** Docker gives messages in gRPC's form the status of the gRPC code; clients compare both. */
const GRPC: Readonly<Record<string, number>> = {
  InvalidArgument: 400,
  FailedPrecondition: 400,
  OutOfRange: 400,
  Unauthenticated: 401,
  PermissionDenied: 403,
  NotFound: 404,
  AlreadyExists: 409,
  Unimplemented: 501,
  Unavailable: 503,
};

export interface HttpError {
  readonly status: number;
  readonly message: string;
}

export function httpError(thrown: unknown): HttpError {
  const { code, message } = SkeinError.from(thrown);
  const grpc = /^rpc error: code = (\w+) desc = /.exec(message)?.[1];
  if (grpc !== undefined) return { status: GRPC[grpc] ?? 500, message };
  if (code === 'out-of-sequence')
    return { status: STATUS[code], message: 'rpc error: code = Unknown desc = update out of sequence' };
  return { status: STATUS[code], message };
}

export const invalid = (message: string): SkeinError => new SkeinError('invalid-argument', message);
export const notFound = (message: string): SkeinError => new SkeinError('not-found', message);
export const conflict = (message: string): SkeinError => new SkeinError('failed-precondition', message);
export const refused = (message: string): SkeinError => new SkeinError('unimplemented', message);

export const NOT_IN_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
export const WORKER =
  "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.";
/** Not Docker's words: its daemon answers nothing while it starts. */
export const STARTING =
  'This node is a swarm manager and is still starting: its store does not answer yet (without a quorum of managers it cannot). Try again in a moment.';
export const LOCKED =
  'Swarm is encrypted and needs to be unlocked before it can be used. Please use "docker swarm unlock" to unlock it.';
