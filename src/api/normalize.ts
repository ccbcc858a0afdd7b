/**
 * Go's way of reading JSON, which clients rely on: keys match without case, null leaves a field at its default, and
 * unknown keys are ignored. The zod schema says which keys there are; what remains wrong is named by its path.
 */
import { z } from 'zod';
import { invalid } from './http-error.ts';

export function parseBody<T>(schema: z.ZodType<T>, body: string): T {
  if (body.trim() === '') throw invalid('invalid JSON: got EOF while reading request body');
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    throw invalid(`invalid JSON: ${(error as Error).message}`);
  }
  const result = schema.safeParse(normalize(schema, value));
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  // A word that is none of those known: the schema has said it as Docker does.
  if (issue.code === 'invalid_value') throw invalid(issue.message);
  throw invalid(`invalid JSON: ${describe(issue, normalize(schema, value))}`);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Renames keys to the schema's spelling and drops nulls and unknown keys, as deep as the schema goes. */
export function normalize(schema: z.core.$ZodType, value: unknown): unknown {
  if (value === null) return undefined;
  // Go's zero value of a word that may be left out: `docker stack deploy` sends `"Order": ""`.
  const mayBeLeftOut = schema instanceof z.ZodOptional || schema instanceof z.ZodDefault;
  if (value === '' && mayBeLeftOut && schema._zod.def.innerType instanceof z.ZodEnum) return undefined;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodNullable)
    return normalize(schema._zod.def.innerType, value);
  if (schema instanceof z.ZodArray && Array.isArray(value))
    return value.map((item: unknown) => normalize(schema._zod.def.element, item) ?? null);
  if (schema instanceof z.ZodRecord && isRecord(value))
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, normalize(schema._zod.def.valueType, item) ?? null]),
    );
  return schema instanceof z.ZodObject && isRecord(value) ? normalizeObject(schema, value) : value;
}

function normalizeObject(schema: z.ZodObject, value: Record<string, unknown>): Record<string, unknown> {
  const shape = schema.shape as Record<string, z.core.$ZodType>;
  const spelling = new Map(Object.keys(shape).map((key) => [key.toLowerCase(), key]));
  const result: Record<string, unknown> = {};
  for (const [given, item] of Object.entries(value)) {
    const key = spelling.get(given.toLowerCase());
    if (key === undefined || (key in result && given !== key)) continue;
    const normal = normalize(shape[key]!, item);
    if (normal !== undefined) result[key] = normal;
  }
  return result;
}

function describe(issue: z.core.$ZodIssue, body: unknown): string {
  const path = issue.path.map(String).join('.');
  if (issue.code !== 'invalid_type') return `field ${path || 'body'}: ${issue.message}`;
  const given = issue.path.reduce<unknown>((v, key) => (v as Record<PropertyKey, unknown>)?.[key], body);
  if (given === undefined) return `field ${path} is required`;
  const type = Array.isArray(given) ? 'array' : typeof given;
  return `json: cannot unmarshal ${type} into field ${path || 'body'} of type ${issue.expected}`;
}
