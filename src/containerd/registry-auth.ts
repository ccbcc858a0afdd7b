/** Which way a registry is spoken to, and how a challenge of it is answered. Pure. */
import { contains, isIpv4, parseCidr } from '../kit/cidr.ts';
import type { RegistryAuth } from './runtime.ts';

export interface Challenge {
  readonly scheme: 'basic' | 'bearer';
  readonly params: Readonly<Record<string, string>>;
}

const HUB = 'registry-1.docker.io';

/** Host of the API: docker.io is a name, not a host. */
export const apiHost = (domain: string): string => (domain === 'docker.io' ? HUB : domain);

/** Loopback and what the settings list is spoken to over plain HTTP, everything else over TLS. */
export function isPlainHttp(domain: string, insecure: readonly string[]): boolean {
  const host = domain.replace(/:\d+$/, '');
  if (host === 'localhost' || host === '[::1]' || (isIpv4(host) && host.startsWith('127.'))) return true;
  return insecure.some((entry) =>
    entry.includes('/')
      ? isIpv4(host) && contains(parseCidr(entry), host)
      : entry === domain || entry === host,
  );
}

/** `Bearer realm="...",service="...",scope="..."`. */
export function parseChallenge(header: string | null): Challenge | undefined {
  const [, scheme = '', rest = ''] = /^\s*(\w+)\s*(.*)$/s.exec(header ?? '') ?? [];
  const name = scheme.toLowerCase();
  if (name !== 'basic' && name !== 'bearer') return undefined;
  const params: Record<string, string> = {};
  for (const [, key = '', quoted, bare] of rest.matchAll(/(\w+)=(?:"([^"]*)"|([^\s,]+))/g))
    params[key.toLowerCase()] = quoted ?? bare ?? '';
  return { scheme: name, params };
}

export const hasPassword = (auth: RegistryAuth | undefined): auth is RegistryAuth =>
  auth?.username !== undefined && auth.username !== '';

export const basicHeader = (auth: RegistryAuth): string =>
  `Basic ${Buffer.from(`${auth.username}:${auth.password ?? ''}`).toString('base64')}`;

/** What tokens are asked for, by resource: `repository:team/app:pull,push`. */
export class Scopes {
  readonly #actions = new Map<string, ReadonlySet<string>>();

  /** One or several of them, with a space between. */
  add(text: string): void {
    for (const [resource, actions] of parseScopes(text))
      this.#actions.set(resource, new Set([...(this.#actions.get(resource) ?? []), ...actions]));
  }

  has(text: string): boolean {
    return parseScopes(text).every(([resource, actions]) =>
      actions.every((action) => this.#actions.get(resource)?.has(action)),
    );
  }

  list(): readonly string[] {
    return [...this.#actions].map(([resource, actions]) => `${resource}:${[...actions].join(',')}`);
  }
}

const parseScopes = (text: string): [string, string[]][] =>
  text
    .split(' ')
    .filter((scope) => scope !== '')
    .map((scope) => {
      const at = scope.lastIndexOf(':');
      return [scope.slice(0, at), scope.slice(at + 1).split(',')];
    });
