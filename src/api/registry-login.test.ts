import assert from 'node:assert/strict';
import { test } from 'node:test';
import { registryLogin } from './registry-login.ts';

/** A registry that takes a:b, by basic authentication or by a token server. */
function registry(challenge: string) {
  const asked: string[] = [];
  const good = `Basic ${Buffer.from('a:b').toString('base64')}`;
  const fake = (async (url: string, init: RequestInit) => {
    asked.push(url);
    const right = new Headers(init.headers).get('authorization') === good;
    const token = url.includes('/token');
    if (right && (token || challenge.startsWith('Basic'))) return new Response('{}');
    return new Response('', { status: 401, headers: { 'www-authenticate': challenge } });
  }) as typeof fetch;
  const login = registryLogin({ insecure: ['plain:5000'], fetch: fake });
  const { signal } = new AbortController();
  return {
    asked,
    login: (password: string, serveraddress: string) =>
      login({ username: 'a', password, serveraddress }, signal),
  };
}

test('credentials are checked with the registry that was named', async () => {
  const { login, asked } = registry('Basic realm="x"');
  assert.deepEqual(await login('b', 'https://reg.example/v1/'), { identityToken: '' });
  await assert.rejects(login('x', 'plain:5000'), { code: 'unauthenticated' });
  assert.deepEqual(asked, ['https://reg.example/v2/', 'http://plain:5000/v2/']);
  await assert.rejects(login('b', 'reg.example@evil'), { code: 'invalid-argument' });
});

test('a token server is asked where the registry says so, but never without TLS', async () => {
  const { login, asked } = registry('Bearer realm="https://auth.example/token",service="s"');
  await login('b', '');
  assert.deepEqual(asked, [
    'https://registry-1.docker.io/v2/',
    'https://auth.example/token?service=s&account=a',
  ]);
  await assert.rejects(login('x', ''), { code: 'unauthenticated' });
  const bad = registry('Bearer realm="http://auth.example/token"');
  await assert.rejects(bad.login('b', ''), /not safe/);
  assert.equal(bad.asked.length, 1);
});
