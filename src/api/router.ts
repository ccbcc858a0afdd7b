/**
 * The route table's own matcher. fastify's router allows a wildcard only at the end of a path, and image names have
 * slashes in the middle (`/images/registry:5000/a/b/json`); upgraded connections do not pass fastify at all.
 * Cost: one pass over the routes of a method, about a hundred regular expressions without backtracking.
 */
import type { Answer } from './answer.ts';
import { refused } from './http-error.ts';
import type { ApiRequest } from './request.ts';

export type Handler = (request: ApiRequest) => Answer | Promise<Answer>;

export interface Route {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE';
  /** `{id}` stands for one segment, `{name*}` for one or more. */
  readonly path: string;
  /** A function serves it; text says why it is not served. */
  readonly handler: Handler | string;
  /** One line for docs/api.md. */
  readonly note?: string;
}

export interface Match {
  readonly handler: Handler;
  readonly params: Readonly<Record<string, string>>;
}

const escape = (part: string): string => part.replace(/[.*+?^$()|[\]\\]/g, '\\$&');

function compile(path: string): RegExp {
  const source = path
    .split(/(\{\w+\*?\})/)
    .map((part) => {
      const name = /^\{(\w+)(\*?)\}$/.exec(part);
      return name ? `(?<${name[1]}>${name[2] ? '.+' : '[^/]+'})` : escape(part);
    })
    .join('');
  return new RegExp(`^${source}$`);
}

const refusal =
  (route: Route): Handler =>
  () => {
    throw refused(`skein does not serve ${route.method} ${route.path} yet: ${String(route.handler)}`);
  };

/** The first route that matches wins, so the table's order matters where patterns overlap. */
export function createRouter(routes: readonly Route[]): (method: string, path: string) => Match | undefined {
  const compiled = routes.map((route) => ({
    method: route.method,
    pattern: compile(route.path),
    handler: typeof route.handler === 'string' ? refusal(route) : route.handler,
  }));
  return (method, path) => {
    for (const route of compiled) {
      if (route.method !== method) continue;
      const found = route.pattern.exec(path);
      if (found) return { handler: route.handler, params: decoded(found.groups ?? {}) };
    }
    return undefined;
  };
}

function decoded(groups: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(groups).map(([key, value]) => [key, decode(value)]));
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // a stray % is part of no name; the lookup says not found
  }
}

/** API versions are dotted numbers; they are compared as such ("1.9" is older than "1.24"). */
export function compareVersions(a: string, b: string): number {
  const [x, y] = [a.split('.').map(Number), b.split('.').map(Number)];
  return (x[0] ?? 0) - (y[0] ?? 0) || (x[1] ?? 0) - (y[1] ?? 0);
}

/** Splits `/v1.41/info` into version and path; without a prefix the version is undefined. */
export function splitVersion(path: string): { readonly version: string | undefined; readonly path: string } {
  const found = /^\/v([0-9.]+)(\/.*)$/.exec(path);
  return found ? { version: found[1]!, path: found[2]! } : { version: undefined, path };
}
