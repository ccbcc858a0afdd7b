/** A stack through the stock CLI: deployed, deployed again, pruned, removed and deployed at once. */
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '../../src/lab/cluster.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { skipWithoutDocker } from '../docker.ts';
import { compose, extraSpec, LOOK, SEEN, WEB_SPEC } from './stack-file.ts';
import { IMAGE, Stage } from './stage.ts';

const NAME = 'svc-stack';

/** What the file refers to and does not make. */
const OUTSIDE = [
  ['network', 'outside', '-d', 'overlay'],
  ['secret', 'outside-key'],
  ['config', 'outside-conf'],
] as const;

/** What is said of a service that says this, in a file with that besides. */
const REFUSED: [RegExp, string, string?][] = [
  [/Privileges\.CredentialSpec is not served by Skein/, 'credential_spec: { file: spec.json }'],
  [/isolation "hyperv" is of Windows: Skein runs Linux containers/, 'isolation: hyperv'],
  [/log driver "syslog" is not served by Skein/, 'logging: { driver: syslog }'],
  [
    /volume driver "nfs" of mount \/v is a plugin/,
    'volumes: [ "vol:/v" ]',
    'volumes: { vol: { driver: nfs } }',
  ],
  [
    /network "nosuch" is declared as external, but could not be found/,
    'networks: [ nosuch ]',
    'networks: { nosuch: { external: true } }',
  ],
  [/secret not found: nosuch/, 'secrets: [ nosuch ]', 'secrets: { nosuch: { external: true } }'],
  [/config not found: nosuch/, 'configs: [ nosuch ]', 'configs: { nosuch: { external: true } }'],
];

describe('stacks', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  let stage: Stage;
  const folder = mkdtempSync(join(tmpdir(), 'skein-stack-'));
  const file = join(folder, 'compose.yml');
  const docker = (...args: string[]) => stage.docker('node1').ok(...args);
  const deploy = (options: { env: string; extra: boolean }, ...args: string[]) => {
    writeFileSync(file, compose(options));
    return docker(
      ...['stack', 'deploy', '--resolve-image', 'never', '--detach=true', '-c', file, ...args, 'st'],
    );
  };
  /** Of one of its services, as the API shows it, ids as `<id>`. */
  const spec = async (name: string): Promise<unknown> => {
    const { Spec } = await stage.lab.engine('node1').get<{ Spec: object }>(`/services/st_${name}`);
    return JSON.parse(JSON.stringify(Spec).replaceAll(/"[0-9a-z]{25}"/g, '"<id>"'));
  };
  const ids = async (service: string) => (await stage.running(service)).map((t) => t.id).sort();

  before(async () => {
    const settings = { nodeGenericResources: ['GPU=one'] };
    stage = new Stage(await Lab.up({ name: NAME, nodes: 2, settings }));
    await stage.loadImage();
    writeFileSync(join(folder, 'outer'), 'outer\n');
    for (const [kind, name, ...args] of OUTSIDE)
      await docker(kind, 'create', ...args, name, ...(kind === 'network' ? [] : [join(folder, 'outer')]));
    writeFileSync(join(folder, 'key'), 'xyzzy');
    writeFileSync(join(folder, 'conf'), 'plover');
    writeFileSync(join(folder, 'filled'), '{{ .Service.Name }} plover\n');
    writeFileSync(join(folder, 'env'), 'FILED=yes\n');
    chmodSync(folder, 0o755); // a container's user is to read it
  });
  after(async () => {
    rmSync(folder, { recursive: true });
    stage.close();
    await downLab(NAME);
  });

  test('deploy makes everything the file names', async () => {
    await deploy({ env: 'one', extra: true });
    await Promise.all([
      stage.converged('st_web', 2),
      stage.converged('st_back', 1),
      stage.converged('st_extra', 1),
    ]);
    assert.match(await docker('stack', 'ls'), /^st\s+3/m);
    const services = await docker('stack', 'services', 'st');
    assert.match(
      services,
      /st_web\s+replicated\s+2\/2 \(max 1 per node\)\s+skein\/web:latest\s+\*:8090->80\/tcp/,
    );
    assert.match(services, /st_back\s+global\s+1\/1/);
    assert.match(await docker('stack', 'ps', 'st'), /st_web\.1[^\n]*Running/);
    for (const kind of ['secret', 'config', 'network'])
      assert.match(
        await docker(kind, 'ls', '--filter', 'label=com.docker.stack.namespace=st'),
        /st_(key|conf|front)/,
      );
    const [task] = (await stage.running('st_web')).filter((t) => t.node === 'node2');
    assert.ok(task);
    const cli = stage.docker('node2');
    const id = (await cli.ok('ps', '-q', '--filter', 'name=st_web.')).trim();
    assert.equal(await cli.ok('exec', id, 'cat', '/run/secrets/key.txt', '/etc/conf'), 'xyzzyplover');
    assert.match(await cli.ok('exec', id, 'cat', '/proc/mounts'), / \/scratch tmpfs /);
    const answer = () => stage.ask('client', '192.0.2.11', 8090);
    await until('an answer', async () => (await answer()) !== undefined || 'none', { timeoutMs: 20_000 });
    assert.match(await docker('stack', 'config', '-c', file), /max_replicas_per_node: 1/);
  });

  test('everything that a file says of a service is there in its container', async () => {
    const cli = stage.docker('node2');
    const id = (await cli.ok('ps', '-q', '--filter', 'name=st_extra.')).trim();
    const lines = (await cli.ok('exec', id, 'sh', '-c', LOOK)).trim().split(/\r?\n/);
    for (const [i, line] of SEEN.entries())
      if (typeof line === 'string') assert.equal(lines[i], line);
      else assert.match(lines[i]!, line);
    assert.deepEqual(await spec('extra'), extraSpec(folder));
    assert.deepEqual(await spec('web'), WEB_SPEC);
  });

  test('the same again replaces nothing; a change replaces what it concerns', async () => {
    const [web, back] = [await ids('st_web'), await ids('st_back')];
    await deploy({ env: 'one', extra: true });
    await stage.converged('st_web', 2);
    assert.deepEqual([await ids('st_web'), await ids('st_back')], [web, back]);
    await deploy({ env: 'two', extra: false });
    await until(
      'two others to run',
      async () => {
        const now = await ids('st_web');
        return (now.length === 2 && now.every((id) => !web.includes(id))) || now.join();
      },
      { timeoutMs: 30_000 },
    );
    assert.deepEqual(await ids('st_back'), back);
    assert.match(await docker('stack', 'ls'), /^st\s+3/m, 'nothing goes unasked');
    await deploy({ env: 'two', extra: false }, '--prune');
    assert.match(await docker('stack', 'ls'), /^st\s+2/m);
  });

  test('what can not be is said, and what runs is left as it is', async () => {
    const [web, back] = [await ids('st_web'), await ids('st_back')];
    const refused = (name: string, file: string) =>
      stage
        .docker('node1')
        .fails('stack', 'deploy', '--resolve-image', 'never', '--detach=true', '-c', file, name);
    for (const [kind, name] of [
      ['secret', 'key'],
      ['config', 'conf'],
    ] as const) {
      const path = join(folder, name);
      const text = readFileSync(path);
      writeFileSync(path, 'other');
      assert.match(
        await refused('st', file),
        new RegExp(`failed to update ${kind} st_${name}: .* desc = only updates to Labels are allowed`),
      );
      writeFileSync(path, text);
    }
    const other = join(folder, 'other.yml');
    for (const [words, service, rest = ''] of REFUSED) {
      writeFileSync(other, `version: "3.8"\nservices: { x: { image: ${IMAGE}, ${service} } }\n${rest}`);
      assert.match(await refused('bad', other), words);
    }
    await docker('stack', 'rm', 'bad');
    assert.deepEqual([await ids('st_web'), await ids('st_back')], [web, back]);
  });

  test('removed and deployed at once does not collide', async () => {
    for (let round = 0; round < 2; round++) {
      await docker('stack', 'rm', 'st');
      await deploy({ env: 'three', extra: false });
      await stage.converged('st_web', 2);
    }
    await docker('stack', 'rm', 'st');
    for (const kind of ['service', 'secret', 'config'])
      assert.doesNotMatch(await docker(kind, 'ls'), / st_/, `no ${kind} is left`);
    assert.doesNotMatch(await docker('network', 'ls'), / st_/);
    for (const [kind, name] of OUTSIDE) await docker(kind, 'rm', name);
  });
});
