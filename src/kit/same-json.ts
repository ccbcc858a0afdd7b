import { isDeepStrictEqual } from 'node:util';

const asJson = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** Whether both are stored as the same: a member that is undefined is none. */
export const sameJson = (a: unknown, b: unknown): boolean => isDeepStrictEqual(asJson(a), asJson(b));
