/** What is refused, in Docker's words, and changes nothing: asked of a cluster with a service `web` on port 80. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { IMAGE, type Stage } from './stage.ts';

export function badInput(stageOf: () => Stage): void {
  const folder = mkdtempSync(join(tmpdir(), 'skein-bad-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const fails = (...args: string[]) =>
    stageOf()
      .docker('node1')
      .fails(...args);
  let untouched: string;
  const everything = async () => {
    const engine = stageOf().lab.engine('node1');
    const services = await engine.get<{ ID: string; Version: object }[]>('/services');
    const networks = await engine.get<{ Id: string }[]>('/networks');
    const images = await engine.get<{ Id: string; RepoTags: string[] }[]>('/images/json');
    const nodes = await engine.get<{ ID: string; Spec: object }[]>('/nodes');
    return JSON.stringify([
      services,
      networks.map((n) => n.Id).sort(),
      images.map(({ Id, RepoTags }) => [Id, RepoTags]),
      nodes.map(({ ID, Spec }) => [ID, Spec]),
    ]);
  };

  before(async () => {
    untouched = await everything();
  });
  after(async () => {
    assert.equal(await everything(), untouched, 'nothing was changed by any of it');
  });

  const refused: [string, string[], RegExp][] = [
    [
      'a published port that is taken',
      ['service', 'create', '--no-resolve-image', '--name', 'x', '-p', '80:8080', IMAGE],
      /rpc error: code = InvalidArgument desc = port '80' is already in use by service 'web' \(\w{25}\) as an ingress port/,
    ],
    [
      'a network that does not exist',
      ['service', 'create', '--no-resolve-image', '--name', 'x', '--network', 'nosuch', IMAGE],
      /network nosuch not found/,
    ],
    [
      'a mount without a source',
      ['service', 'create', '--no-resolve-image', '--name', 'x', '--mount', 'type=bind,target=/a', IMAGE],
      /source/,
    ],
    [
      'a mount to no absolute path',
      ['service', 'create', '--no-resolve-image', '--name', 'x', '--mount', 'type=tmpfs,target=a', IMAGE],
      /invalid mount target, must be an absolute path: a/,
    ],
    [
      'a constraint that is none',
      ['service', 'create', '--no-resolve-image', '--name', 'x', '--constraint', 'node.role~=x', IMAGE],
      /rpc error: code = InvalidArgument desc = constraint expected one operator from ==, !=/,
    ],
    [
      'a name that is taken',
      ['service', 'create', '--no-resolve-image', '--name', 'web', IMAGE],
      /name conflicts with an existing object/,
    ],
    ['a service that is not there', ['service', 'scale', 'nosuch=2'], /nosuch/],
    ['a network that is taken', ['network', 'create', '-d', 'overlay', 'ingress'], /already exists/],
    ['a second init', ['swarm', 'init'], /This node is already part of a swarm/],
    ['a task that is not there', ['inspect', 'nosuch'], /No such object: nosuch/i],
    ['an image that is not there', ['rmi', 'nosuch:1'], /No such image: nosuch:1/],
    ['a container that is not there', ['logs', 'nosuch'], /No such container: nosuch/],
  ];
  /** Flags of `service create` that ask for what is wrong, or for what no node can give; with what is said. */
  const flags: [string, RegExp][] = [
    ['--restart-condition sometimes', /invalid RestartCondition: "sometimes"/],
    ['--update-failure-action cry', /unrecognized update failure action cry/],
    ['--update-order random', /unrecognized update order random/],
    ['--rollback-order random', /unrecognized update order random/],
    ['--update-max-failure-ratio 2', /update-maxfailureratio cannot be less than 0 or bigger than 1/],
    ['--endpoint-mode nat', /invalid resolution mode: nat/],
    ['--endpoint-mode dnsrr -p 81:81', /port published with ingress mode can't be used with dnsrr mode/],
    ['--mode global --replicas 2', /replicas can only be used with replicated or replicated-job mode/],
    ['--mode global --max-concurrent 2', /max-concurrent can only be used with replicated-job mode/],
    ['--mode replicated-job --restart-condition any', /restart condition "any" is not supported for jobs/],
    [
      '--mode global-job --update-parallelism 2',
      /update config(uration)? .*not supported|not supported for jobs/,
    ],
    ['--hostname {{.Task.Sort}}', /expanding template "{{\.Task\.Sort}}" failed: "\.Task\.Sort" is none of/],
    ['--limit-cpu 0.0001', /invalid cpu value 0\.0001: Must be at least 0\.001/],
    ['--reserve-memory 1M', /invalid memory value 1048576: Must be at least 4MiB/],
    ['--generic-resource GPU=one', /Named Generic Resources is not supported for service create/],
    ['--log-driver syslog', /log driver "syslog" is not served by Skein/],
    ['--isolation hyperv', /isolation "hyperv" is of Windows: Skein runs Linux containers/],
    ['--credential-spec file://spec.json', /Privileges\.CredentialSpec is not served by Skein/],
    ['--network name=ingress,driver-opt=a=b', /driver options of network \S+ are not served by Skein: a$/m],
    ['--mount type=pipe,target=/a', /invalid MountType: "pipe"/],
    ['--mount type=cluster,source=v,target=/a', /mount type "cluster" is not served by Skein/],
    ['--mount type=npipe,source=v,target=/a', /mount type "npipe" is not served by Skein/],
    ['--mount type=image,source=v,target=/a', /mount type "image" is not served by Skein/],
    ['--mount source=v,target=/a,volume-driver=nfs', /volume driver "nfs" of mount \/a is a plugin/],
    [
      '--mount type=bind,source=/tmp,target=/a,readonly,bind-propagation=rprivate,bind-recursive=readonly',
      /bind-recursive=readonly of mount \/a is not served by Skein/,
    ],
  ];
  for (const [args, words] of flags)
    void test(`service create ${args}`, async () => {
      const create = ['service', 'create', '--detach', '--no-resolve-image', '--name', 'x'];
      assert.match(await fails(...create, ...args.split(' '), IMAGE), words);
    });

  for (const [words, args] of [
    [/invalid Availability: "nonsense"/, ['--availability', 'nonsense']],
    [/invalid Role: "nonsense"/, ['--role', 'nonsense']],
  ] as const)
    void test(`node update ${args.join(' ')}`, async () => {
      assert.match(await fails('node', 'update', ...args, 'node2'), words);
    });

  for (const [what, args, words] of refused)
    void test(what, async () => {
      assert.match(await fails(...args), words);
    });

  void test('a request to a worker', async () => {
    assert.match(
      await stageOf().docker('node2').fails('service', 'ls'),
      /This node is not a swarm manager\. Worker nodes/,
    );
  });

  void test('a stale version', async () => {
    const engine = stageOf().lab.engine('node1');
    const service = await engine.get<{ ID: string; Version: { Index: number }; Spec: object }>(
      '/services/web',
    );
    const answer = await engine.raw('POST', `/services/${service.ID}/update`, {
      query: { version: service.Version.Index - 1 },
      body: service.Spec,
    });
    assert.equal(answer.status, 500);
    assert.match(answer.body.toString(), /rpc error: code = Unknown desc = update out of sequence/);
  });

  void test('archives that are no image', async () => {
    const file = join(folder, 'bad.tar');
    for (const content of [
      Buffer.from('no tar at all'),
      Buffer.alloc(10_240),
      Buffer.alloc(1_000_000, 'x'),
    ]) {
      writeFileSync(file, content);
      assert.match(await fails('load', '-i', file), /^Error response from daemon: invalid archive: \S/m);
    }
  });

  void test('bodies that are no JSON, too large, or of another version of the API', async () => {
    const engine = stageOf().lab.engine('node1');
    const json = { 'content-type': 'application/json' };
    const post = async (path: string, body: Uint8Array) => {
      const { status, body: answer } = await engine.raw('POST', path, { body, headers: json });
      return { status, message: (JSON.parse(answer.toString()) as { message: string }).message };
    };
    const malformed = await post('/services/create', Buffer.from('{"Name":'));
    assert.equal(malformed.status, 400);
    assert.match(malformed.message, /JSON/i);
    const large = await post(
      '/services/create',
      Buffer.from(JSON.stringify({ Name: 'x'.repeat(40_000_000) })),
    );
    assert.equal(large.status, 413);
    const old = await engine.raw('GET', '/v1.23/info');
    assert.equal(old.status, 400);
    assert.match(old.body.toString(), /client version 1\.23 is too old/);
    const young = await engine.raw('GET', '/v9.9/info');
    assert.equal(young.status, 400);
    assert.match(young.body.toString(), /client version 9\.9 is too new/);
    assert.equal((await engine.raw('GET', '/v1.41/no/such')).status, 404);
  });
}
