import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerSpec } from '../model/spec.ts';
import { taskItem } from './fake-node.ts';
import { payloadFiles, type PayloadItems } from './payloads.ts';

const item = (id: string, text: string, isTemplate = false) => ({
  id,
  name: id,
  data: Buffer.from(text).toString('base64'),
  isTemplate,
});
const items = (
  secrets: ReturnType<typeof item>[],
  configs: ReturnType<typeof item>[] = [],
): PayloadItems => ({
  secrets: new Map(secrets.map((s) => [s.id, s])),
  configs: new Map(configs.map((c) => [c.id, c])),
});
const file = (Name: string, patch: object = {}) => ({ Name, UID: '0', GID: '0', Mode: 0o444, ...patch });
const secretRef = (id: string, target = id, patch: object = {}) => ({
  SecretID: id,
  SecretName: id,
  File: file(target, patch),
});
const configRef = (id: string, target = id) => ({ ConfigID: id, ConfigName: id, File: file(target) });
const files = (spec: Partial<ContainerSpec>, given: PayloadItems) =>
  payloadFiles(
    taskItem('t1', { spec: { ContainerSpec: { Image: 'i', ...spec } }, serviceLabels: { tier: 'front' } }),
    { id: undefined, hostname: 'host1', platform: { architecture: 'x86_64', os: 'linux' } },
    given,
  ).map(({ content, ...rest }) => ({ ...rest, content: content.toString() }));

test('secrets lie below /run/secrets, configs below the root, each where its target says', () => {
  const found = files(
    {
      Secrets: [secretRef('a'), secretRef('b', '/etc/b.key', { UID: '7', GID: '8', Mode: 0o400 })],
      Configs: [configRef('c'), configRef('d', '/etc/d.conf')],
    },
    items([item('a', 'A'), item('b', 'B')], [item('c', 'C'), item('d', 'D')]),
  );
  assert.deepEqual(found, [
    { target: '/run/secrets/a', content: 'A', mode: 0o444, uid: 0, gid: 0 },
    { target: '/etc/b.key', content: 'B', mode: 0o400, uid: 7, gid: 8 },
    { target: '/c', content: 'C', mode: 0o444, uid: 0, gid: 0 },
    { target: '/etc/d.conf', content: 'D', mode: 0o444, uid: 0, gid: 0 },
  ]);
});

test('a template knows its task, its environment and the files beside it; nothing else is expanded', () => {
  const text =
    '{{ .Service.Name }}.{{.Task.Slot}}@{{.Node.Hostname}} {{.Node.Platform.OS}}/{{.Node.Platform.Architecture}} {{index .Service.Labels "tier"}} ' +
    '{{ env "A" }} {{ secret "key" }} {{ config "c" }}';
  const found = files(
    { Env: ['A=1'], Secrets: [secretRef('a', 'key')], Configs: [configRef('t'), configRef('c')] },
    items([item('a', 'xyzzy')], [item('t', text, true), item('c', '{{ not one }}')]),
  );
  assert.deepEqual(
    found.map((f) => f.content),
    ['xyzzy', 'web.1@host1 linux/x86_64 front 1 xyzzy {{ not one }}', '{{ not one }}'],
  );
});

test('what is missing or does not expand is said', () => {
  const none = items([]);
  assert.throws(
    () => files({ Secrets: [secretRef('a')] }, none),
    /^SkeinError: secret a \(a\) of this task is not there/,
  );
  const bad = items([], [item('t', '{{ secret "no" }}', true)]);
  assert.throws(() => files({ Configs: [configRef('t')] }, bad), /secret target no not found/);
  const other = items([], [item('t', '{{ secret "c" }}', true), item('c', 'C')]);
  const beside = { Configs: [configRef('t'), configRef('c')] };
  assert.throws(() => files(beside, other), /secret target c not found/, 'a config is no secret');
  const odd = items([item('a', 'A')]);
  assert.throws(
    () => files({ Secrets: [secretRef('a', 'a', { UID: 'root' })] }, odd),
    /must be a number: "root"/,
  );
});
