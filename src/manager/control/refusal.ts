/**
 * The words in which a manager says no. Docker's clients see swarmkit's gRPC errors, so these carry the same prefix;
 * the API turns it into the status that Docker gives.
 */
import { type ErrorCode, SkeinError } from '../../model/errors.ts';

const refuse = (code: ErrorCode, name: string) => (message: string) =>
  new SkeinError(code, `rpc error: code = ${name} desc = ${message}`);

export const invalid = refuse('invalid-argument', 'InvalidArgument');
export const taken = refuse('already-exists', 'AlreadyExists');
export const inUse = refuse('failed-precondition', 'FailedPrecondition');
export const unimplemented = refuse('unimplemented', 'Unimplemented');
export const denied = refuse('permission-denied', 'PermissionDenied');
export const stale = () =>
  new SkeinError('out-of-sequence', 'rpc error: code = Unknown desc = update out of sequence');
export const nameTaken = (kind: string, name: string) =>
  taken(`name conflicts with an existing object: ${kind} ${name} already exists`);
export const notFound = (kind: string, ref: string) =>
  new SkeinError('not-found', `${kind} ${ref} not found`);
