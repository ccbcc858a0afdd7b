import assert from 'node:assert/strict';
import { test } from 'node:test';
import { whyNot } from './docker.ts';

test('tests of the docker CLI run where one is that speaks as they know it, and say else what to get', () => {
  assert.equal(whyNot('Docker version 28.2.2, build e6534b4\n'), false);
  assert.equal(whyNot('Docker version 29.0.0-rc.1, build x\n'), false);
  assert.match(whyNot(undefined) || '', /not installed on this machine; \S+ has docker-ce-cli$/);
  const debian = whyNot('Docker version 20.10.24+dfsg1, build 297e128\n') || '';
  assert.match(debian, /of this machine is 20\.10\.24\+dfsg1, and version 28 or later is needed/);
  assert.match(whyNot('podman') || '', /of this machine is \?/);
});
