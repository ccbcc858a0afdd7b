/** The `filters` query of every list: `{"key":["value"]}` and the older `{"key":{"value":true}}` mean the same. */
import { invalid } from './http-error.ts';

export class Filters {
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(values: ReadonlyMap<string, readonly string[]>) {
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): readonly string[] {
    return this.#values.get(key) ?? [];
  }

  /** No such filter, or one of its values satisfies the test. */
  any(key: string, test: (value: string) => boolean): boolean {
    const values = this.#values.get(key);
    return values === undefined || values.length === 0 || values.some(test);
  }

  /** Labels are all demanded: `key` or `key=value`. */
  labels(key: string, labels: Readonly<Record<string, string>> | null | undefined): boolean {
    return this.get(key).every((wanted) => {
      const at = wanted.indexOf('=');
      const name = at < 0 ? wanted : wanted.slice(0, at);
      const value = labels && Object.hasOwn(labels, name) ? labels[name] : undefined;
      return value !== undefined && (at < 0 || value === wanted.slice(at + 1));
    });
  }

  /** True, false, or undefined where the filter is not given. */
  flag(key: string): boolean | undefined {
    const values = this.get(key);
    if (values.length === 0) return undefined;
    const parsed = values.map((value) => {
      if (['1', 'true', 'True', 't', 'TRUE'].includes(value)) return true;
      if (['0', 'false', 'False', 'f', 'FALSE'].includes(value)) return false;
      throw invalid(`invalid filter '${key}=[${values.join(' ')}]'`);
    });
    return parsed.includes(true) && parsed.includes(false) ? undefined : parsed[0];
  }
}

/** Docker's Match: the text, a part of it, or with ^ and $ its beginning and end. No user-given regular expressions. */
export function matches(wanted: string, ...texts: readonly string[]): boolean {
  const start = wanted.startsWith('^');
  const end = wanted.endsWith('$');
  const core = wanted.slice(start ? 1 : 0, end ? -1 : undefined);
  return texts.some((text) => {
    if (start && end) return text === core;
    if (start) return text.startsWith(core);
    return end ? text.endsWith(core) : text.includes(core);
  });
}

/** Shell-like patterns as in Docker's reference filter: `*` and `?` stay within a path element. */
export function globMatches(pattern: string, text: string): boolean {
  const [wanted, given] = [pattern.split('/'), text.split('/')];
  return wanted.length === given.length && wanted.every((element, i) => elementMatches(element, given[i]!));
}

/** Cost: the one length times the other at most, for only the last `*` is ever tried again. */
function elementMatches(pattern: string, text: string): boolean {
  let [p, t] = [0, 0];
  let star: { readonly behind: number; taken: number } | undefined;
  while (t < text.length) {
    if (pattern[p] === '*') star = { behind: ++p, taken: t };
    else if (pattern[p] === '?' || pattern[p] === text[t]) [p, t] = [p + 1, t + 1];
    else if (star) [p, t] = [star.behind, ++star.taken];
    else return false;
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}

/** A filter that takes none but these values, and what is said to another. */
export interface FilterWords {
  readonly known: readonly string[];
  readonly refusal: (given: string) => string;
}

export function parseFilters(
  query: string,
  allowed: readonly string[],
  words: Readonly<Record<string, readonly string[] | FilterWords>> = {},
): Filters {
  const values = new Map<string, readonly string[]>();
  for (const [key, given] of Object.entries(query === '' ? {} : parseObject(query))) {
    if (!allowed.includes(key)) throw invalid(`invalid filter '${key}'`);
    const list = valuesOf(key, given);
    const of = words[key];
    const known = of && ('known' in of ? of.known : of);
    const unknown = known && list.find((value) => !known.includes(value));
    if (unknown !== undefined)
      throw invalid('refusal' in of! ? of.refusal(unknown) : `Invalid ${key} filter: '${unknown}'`);
    values.set(key, list);
  }
  return new Filters(values);
}

function parseObject(query: string): object {
  try {
    const value: unknown = JSON.parse(query);
    if (value === null) return {};
    if (typeof value === 'object' && !Array.isArray(value)) return value;
  } catch {
    // said below
  }
  throw invalid('invalid filter: not a JSON object of names and values');
}

function valuesOf(key: string, given: unknown): readonly string[] {
  if (Array.isArray(given) && given.every((v): v is string => typeof v === 'string')) return given;
  if (typeof given === 'object' && given !== null && !Array.isArray(given))
    return Object.entries(given).flatMap(([value, on]) => (on === true ? [value] : []));
  throw invalid(`invalid filter '${key}': its values must be a list of strings`);
}
