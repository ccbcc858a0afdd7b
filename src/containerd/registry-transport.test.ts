/** What a registry and its token service are asked, and with which credentials, over a fetch that answers by a table. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { parseReference } from './reference.ts';
import { RegistryTransport } from './registry-transport.ts';
import type { RegistryAuth } from './runtime.ts';

const AUTH = { username: 'me', password: 'secret' };
const BASIC = 'Basic bWU6c2VjcmV0';
const MANIFEST = 'https://reg.example/v2/a/b/manifests/1';
const OK = [200];

interface Registry {
  /** `www-authenticate` of its refusals. */
  readonly challenge: string;
  /** The `authorization` that it takes. */
  readonly takes?: string;
}

/** Asked for image `a/b`; `asked` is each URL with the credentials that came along. */
function client({ challenge, takes }: Registry, auth: RegistryAuth | undefined) {
  const asked: [url: string, authorization: string | null][] = [];
  const fake = (async (url: string, init: RequestInit) => {
    const authorization = new Headers(init.headers).get('authorization');
    asked.push([url, authorization]);
    if (url.startsWith('https://auth.example/')) return new Response('{"token":"T"}');
    if (authorization === takes) return new Response('content');
    return new Response('', { status: 401, headers: { 'www-authenticate': challenge } });
  }) as typeof fetch;
  const options = { insecure: [], fetch: fake, clock: new VirtualClock() };
  const transport = new RegistryTransport(
    options,
    parseReference('reg.example/a/b:1'),
    auth,
    () => undefined,
  );
  return { asked, ask: (url = MANIFEST) => transport.request(url, {}, OK) };
}

test('the password goes to the token service, beside what that asks for itself; the token to the registry alone', async () => {
  const challenge =
    'Bearer realm="https://auth.example/token?tenant=t",service="s",scope="repository:a/b:pull"';
  const { asked, ask } = client({ challenge, takes: 'Bearer T' }, AUTH);
  await ask();
  const token = 'https://auth.example/token?tenant=t&service=s&scope=repository%3Aa%2Fb%3Apull';
  assert.deepEqual(asked, [
    [MANIFEST, null],
    [token, BASIC],
    [MANIFEST, 'Bearer T'],
  ]);
  await assert.rejects(ask('https://storage.example/blob'));
  assert.deepEqual(asked[3], ['https://storage.example/blob', null]);
});

test('a password is shown when it is asked for; one that was refused is not shown for another try', async () => {
  const { asked, ask } = client({ challenge: 'Basic realm="r"' }, AUTH);
  for (const tries of [2, 3]) {
    await assert.rejects(ask(), { code: 'invalid-argument' });
    assert.equal(asked.length, tries);
  }
  assert.deepEqual(
    asked.map(([, authorization]) => authorization),
    [null, BASIC, BASIC],
  );
});

test('without a password none is made up', async () => {
  const { asked, ask } = client({ challenge: 'Basic realm="r"' }, undefined);
  await assert.rejects(ask(), { code: 'invalid-argument' });
  assert.deepEqual(asked, [[MANIFEST, null]]);
});
