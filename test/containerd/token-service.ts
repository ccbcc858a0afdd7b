/** Debian's docker-registry where it wants tokens, and the service that gives them: who may do what is a table. */
import { randomBytes, randomUUID, sign } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { newRoot } from '../../src/manager/ca/authority.ts';
import { freePort } from '../free-port.ts';
import { type Registry, registry } from './registry.ts';

export interface User {
  readonly password: string;
  /** Actions by the beginning of the repository's name. */
  readonly may: Readonly<Record<string, readonly string[]>>;
}

export interface TokenRegistry extends Registry {
  /** Whom tokens were given, and for what: `me repository:team/app:pull`. */
  readonly given: readonly string[];
  close(): void;
}

const SERVICE = 'the registry';
const ISSUER = 'the service';

/** The user without a name is anybody. */
export async function tokenRegistry(
  root: string,
  users: Readonly<Record<string, User>>,
): Promise<TokenRegistry> {
  const { key, certificate } = await newRoot('tokens', { now: Date.now, random: randomBytes });
  const bundle = join(root, 'tokens.pem');
  writeFileSync(bundle, certificate);
  const given: string[] = [];
  const port = await freePort();
  const server = createServer((request, response) => {
    const url = new URL(request.url!, `http://127.0.0.1:${port}`);
    const [name, password] = credentials(request);
    const user = users[name];
    if (!user || user.password !== password) {
      const errors = [{ code: 'UNAUTHORIZED', message: 'incorrect username or password' }];
      return response.writeHead(401).end(JSON.stringify({ errors }));
    }
    const scopes = url.searchParams.getAll('scope');
    given.push(...scopes.map((scope) => `${name} ${scope}`));
    const access = scopes.map((scope) => granted(scope, user));
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      ...{ iss: ISSUER, sub: name, aud: SERVICE, jti: randomUUID(), access },
      ...{ nbf: now - 10, iat: now, exp: now + 300 },
    };
    response.end(JSON.stringify({ token: signed(claims, key, certificate) }));
  });
  server.listen(port, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const settings = [
    `realm: "http://127.0.0.1:${port}/token"`,
    `service: "${SERVICE}"`,
    `issuer: "${ISSUER}"`,
    `rootcertbundle: ${bundle}`,
  ];
  const own = await registry(root, 'tokens', `{ token: { ${settings.join(', ')} } }`);
  const close = () => {
    own.process.kill();
    server.close();
    server.closeAllConnections();
  };
  return { ...own, given, close };
}

function credentials({ headers }: IncomingMessage): [string, string] {
  const text = Buffer.from(headers.authorization?.replace('Basic ', '') ?? '', 'base64').toString();
  return [text.slice(0, text.indexOf(':')), text.slice(text.indexOf(':') + 1)];
}

/** What of `repository:NAME:ACTIONS` the user may. */
function granted(scope: string, { may }: User): object {
  const [type, name = '', actions = ''] = scope.split(':');
  const allowed = Object.entries(may).flatMap(([prefix, list]) => (name.startsWith(prefix) ? list : []));
  return { type, name, actions: actions.split(',').filter((action) => allowed.includes(action)) };
}

function signed(claims: object, key: string, certificate: string): string {
  const x5c = [certificate.replace(/-----[^-]+-----|\s/g, '')];
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const text = `${part({ typ: 'JWT', alg: 'ES256', x5c })}.${part(claims)}`;
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' });
  return `${text}.${signature.toString('base64url')}`;
}
