import assert from 'node:assert/strict';
import { test } from 'node:test';
import { familiarName, fullName, parseReference } from './reference.ts';

const HEX = 'a'.repeat(64);

test('short names are those of docker.io/library, and latest', () => {
  const cases: [string, string, string][] = [
    ['nginx', 'docker.io/library/nginx:latest', 'nginx:latest'],
    ['nginx:1.27', 'docker.io/library/nginx:1.27', 'nginx:1.27'],
    ['index.docker.io/nginx', 'docker.io/library/nginx:latest', 'nginx:latest'],
    ['user/app', 'docker.io/user/app:latest', 'user/app:latest'],
    ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
    ['localhost:5000/app', 'localhost:5000/app:latest', 'localhost:5000/app:latest'],
    ['127.0.0.1:5000/a/b:x', '127.0.0.1:5000/a/b:x', '127.0.0.1:5000/a/b:x'],
    ['[::1]:5000/a', '[::1]:5000/a:latest', '[::1]:5000/a:latest'],
    [`nginx@sha256:${HEX}`, `docker.io/library/nginx@sha256:${HEX}`, `nginx@sha256:${HEX}`],
    [`nginx:1@sha256:${HEX}`, `docker.io/library/nginx@sha256:${HEX}`, `nginx@sha256:${HEX}`],
  ];
  for (const [text, full, familiar] of cases) {
    assert.equal(fullName(parseReference(text)), full);
    assert.equal(familiarName(parseReference(text)), familiar);
  }
});

test('what is no reference is refused in the words of Docker', () => {
  for (const text of [
    '',
    'a b',
    'a:b:c/d',
    ':tag',
    'a/',
    'a//b',
    '-a',
    'a:-x',
    'a@sha256:12',
    `a@md5:${HEX}`,
  ])
    assert.throws(() => parseReference(text), { code: 'invalid-argument' }, text);
  assert.throws(() => parseReference('user/Foo'), {
    message: /repository name \(user\/Foo\) must be lowercase/,
  });
  assert.throws(() => parseReference(HEX), { message: /cannot specify 64-byte hexadecimal/ });
});
