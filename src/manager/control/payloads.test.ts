import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { SecretId } from '../../model/ids.ts';
import { spec } from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const secret = (patch: object = {}) => ({ Name: 's1', Labels: { k: 'v' }, Data: base64('xyzzy'), ...patch });

async function cluster(t: TestContext): Promise<TestCluster> {
  const c = await new TestCluster().start('n1');
  t.after(() => c.stop());
  return c;
}

const words = (code: string, text: string) => ({ message: `rpc error: code = ${code} desc = ${text}` });
const file = { Name: 's1', UID: '0', GID: '0', Mode: 0o444 };

test('a secret is stored sealed, and its data is in no field that is shown', async (t) => {
  const { control, store, sealer } = await cluster(t);
  const id = (await control.secrets.create(secret())) as SecretId;
  const stored = (await store.get('secret', id))!;
  assert.deepEqual(stored.spec, { Name: 's1', Labels: { k: 'v' } });
  assert.ok(!JSON.stringify(stored).includes(base64('xyzzy')));
  assert.equal(sealer.open(id, stored.sealed).toString(), 'xyzzy');
  for (const ref of [id, 's1', id.slice(0, -1)]) assert.equal(control.secrets.find(ref).id, id);
  assert.throws(() => control.secrets.find('s2'), { message: 'secret s2 not found' });
});

test('what can not be kept is refused', async (t) => {
  const { control } = await cluster(t);
  const refused = (patch: object, text: string, code = 'InvalidArgument') =>
    assert.rejects(control.secrets.create(secret(patch)), words(code, text));
  const limit = 'secret data must be larger than 0 and less than 512000 bytes';
  await refused({ Data: '' }, limit);
  await refused({ Data: base64('x'.repeat(512_000)) }, limit);
  await control.secrets.create(secret({ Name: 'big', Data: base64('x'.repeat(511_999)) }));
  await assert.rejects(
    control.configs.create(secret({ Data: base64('x'.repeat(1_024_000)) })),
    words('InvalidArgument', 'config data must be larger than 0 and less than 1024000 bytes'),
  );
  await refused({ Name: '' }, 'name must be provided');
  await refused(
    { Name: '-s' },
    'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
  );
  await control.secrets.create(secret({ Name: 's'.repeat(64) }));
  await refused(
    { Name: 's'.repeat(65) },
    'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
  );
  await refused({ Templating: { Name: 'jinja' } }, 'template driver "jinja" is not known: it must be golang');
  await refused(
    { Driver: { Name: 'vault' } },
    'secret drivers are not served by Skein: give the data itself',
    'Unimplemented',
  );
  await control.secrets.create(secret());
  await refused({}, 'secret s1 already exists', 'AlreadyExists');
  await control.configs.create(secret()); // another kind, another name
});

for (const kind of ['secrets', 'configs'] as const)
  test(`${kind}: labels change; name and data do not`, async (t) => {
    const { control } = await cluster(t);
    const it = control[kind];
    await it.create(secret());
    const version = () => it.find('s1').version;
    const Data = it.find('s1').spec.Data;
    for (const patch of [{ Name: 's2' }, { Data: base64('other') }, { Templating: { Name: 'golang' } }])
      await assert.rejects(
        it.update('s1', version(), secret(patch)),
        words('InvalidArgument', 'only updates to Labels are allowed'),
      );
    const before = version();
    await it.update('s1', before, secret({ Labels: { a: 'b' } }));
    await it.update('s1', version(), secret({ Labels: { a: 'c' }, Data: '' }));
    assert.deepEqual(it.find('s1').spec, { Name: 's1', Labels: { a: 'c' }, ...(Data && { Data }) });
    await assert.rejects(it.update('s1', before, secret()), words('Unknown', 'update out of sequence'));
  });

for (const kind of ['secret', 'config'] as const)
  test(`a ${kind} that a service refers to stays, and the refusal names the services`, async (t) => {
    const c = await cluster(t);
    const it = c.control[`${kind}s`];
    const id = await it.create(secret());
    const TaskTemplate = {
      ContainerSpec: {
        Image: 'web:1',
        ...(kind === 'secret'
          ? { Secrets: [{ File: file, SecretID: id, SecretName: 's1' }] }
          : { Configs: [{ File: file, ConfigID: id, ConfigName: 's1' }] }),
      },
    };
    await c.create(spec({ TaskTemplate }));
    const inUse = (services: string) =>
      assert.rejects(
        it.remove('s1'),
        words('InvalidArgument', `${kind} 's1' is in use by the following service${services}`),
      );
    await inUse(': web');
    await c.create(spec({ Name: 'api', TaskTemplate }));
    await inUse('s: api, web');
    await c.control.removeService('web');
    await c.control.removeService('api');
    await it.remove('s1');
    await assert.rejects(c.create(spec({ TaskTemplate })), words('InvalidArgument', `${kind} not found: s1`));
  });

test('a service does not go back to what refers to a config that is there no more', async (t) => {
  const c = await cluster(t);
  const id = await c.control.configs.create(secret());
  const Configs = [{ File: file, ConfigID: id, ConfigName: 's1' }];
  await c.create(spec({ TaskTemplate: { ContainerSpec: { Image: 'web:1', Configs } } }));
  await c.update('web', (s) => ({ ...s, TaskTemplate: { ContainerSpec: { Image: 'web:1' } } }));
  await c.control.configs.remove('s1');
  const { version, spec: now } = c.control.service('web');
  await assert.rejects(
    c.control.updateService('web', version, now, { rollback: true }),
    words('InvalidArgument', 'config not found: s1'),
  );
  assert.equal(c.control.service('web').version, version);
});
