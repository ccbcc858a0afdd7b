/**
 * What a Node program does with a cluster, through dockerode: a service with what it refers to from its creation to its
 * end, its logs demuxed, a container of its own with exec and attach, images, and the events of all that.
 */
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { PassThrough, type Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import Docker from 'dockerode';
import { until } from '../../src/lab/cluster.ts';

type Demuxed = Readonly<Record<'out' | 'err', string>>;

/** Until the stream ends. */
async function demuxed(docker: Docker, stream: NodeJS.ReadableStream): Promise<Demuxed> {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => [out, err].forEach((one) => one.end()));
  const [outText, errText] = await Promise.all([text(out), text(err)]);
  return { out: outText, err: errText };
}

/** Follows until what has come is enough, and goes. */
async function followed(
  docker: Docker,
  stream: Readable,
  enough: (so: Demuxed) => Promise<true | string>,
): Promise<void> {
  const so = { out: '', err: '' };
  const into = (name: 'out' | 'err') => new PassThrough().on('data', (data) => (so[name] += String(data)));
  docker.modem.demuxStream(stream, into('out'), into('err'));
  await eventually('what is followed', () => enough(so));
  stream.destroy();
}

const eventually = (what: string, condition: () => Promise<true | string>): Promise<void> =>
  until(what, condition, { timeoutMs: 30_000 });

export async function nodeProgram(socketPath: string, image: string): Promise<void> {
  const docker = new Docker({ socketPath });
  const labels = { of: 'node' };
  const seen = new Set<string>();
  const events = await docker.getEvents();
  createInterface({ input: events }).on('line', (line) => {
    const { Type, Action, Actor } = JSON.parse(line) as {
      readonly Type: string;
      readonly Action: string;
      readonly Actor: { readonly Attributes: { readonly name?: string } };
    };
    seen.add(`${Type} ${Action} ${Actor.Attributes.name}`);
  });
  try {
    const swarm = (await docker.swarmInspect()) as { JoinTokens: { Worker: string } };
    assert.match(swarm.JoinTokens.Worker, /^SWMTKN-1-/);
    const nodes = (await docker.listNodes()) as { Spec: { Role: string } }[];
    assert.deepEqual(nodes.map((node) => node.Spec.Role).sort(), ['manager', 'worker']);

    await images(docker, image);
    const network = await docker.createNetwork({
      ...{ Name: 'node-net', Driver: 'overlay', Attachable: true, Labels: labels },
    });
    const data = Buffer.from('xyzzy').toString('base64');
    const secret = (await docker.createSecret({ Name: 'node-key', Data: data, Labels: labels })) as Reference;
    const config = (await docker.createConfig({ Name: 'node-conf', Data: data })) as Reference;
    await service(docker, image, { network: network.id, secret, config });
    await container(docker, image);

    await docker.getSecret(secret.id).remove();
    await docker.getConfig(config.id).remove();
    await eventually('the network to be free', () =>
      network.remove().then(
        () => true as const,
        (error: Error) => error.message,
      ),
    );
    const wanted = [
      ...['service create node', 'service update node', 'service remove node', 'image tag node/copy:1'],
      ...['container start node-own', 'container die node-own', 'container destroy node-own'],
      ...['secret remove node-key', 'config remove node-conf', 'network remove node-net'],
    ];
    const missing = () => wanted.filter((event) => !seen.has(event));
    await eventually('the events', async () => missing().length === 0 || missing().join());
  } finally {
    (events as Readable).destroy();
  }
}

interface Reference {
  readonly id: string;
}

async function images(docker: Docker, image: string): Promise<void> {
  const source = docker.getImage(image);
  const { Id, Config } = await source.inspect();
  assert.deepEqual(Config.Entrypoint, ['/bin/answer']);
  await source.tag({ repo: 'node/copy', tag: '1' });
  const found = await docker.listImages({ filters: { reference: ['node/copy'] } });
  assert.deepEqual(
    found.map((one) => one.Id),
    [Id],
  );
  assert.ok(found[0]!.RepoTags!.includes('node/copy:1'));
  assert.equal(((await source.history()) as { Id: string }[])[0]!.Id, Id);
  assert.deepEqual(await docker.getImage('node/copy:1').remove(), [{ Untagged: 'node/copy:1' }]);
  await assert.rejects(docker.getImage('node/copy:1').inspect(), { statusCode: 404 });
}

async function service(
  docker: Docker,
  image: string,
  used: { readonly network: string; readonly secret: Reference; readonly config: Reference },
): Promise<void> {
  const file = (Name: string) => ({ File: { Name, UID: '0', GID: '0', Mode: 0o444 } });
  const made = (await docker.createService({
    Name: 'node',
    Labels: { of: 'node' },
    TaskTemplate: {
      ContainerSpec: {
        ...{ Image: image, Args: ['lines=2'], Env: ['A=1'] },
        Secrets: [{ ...file('key'), SecretID: used.secret.id, SecretName: 'node-key' }],
        Configs: [{ ...file('/conf'), ConfigID: used.config.id, ConfigName: 'node-conf' }],
      },
      RestartPolicy: { Condition: 'any', Delay: 1e8 },
      Networks: [{ Target: used.network }],
    },
    Mode: { Replicated: { Replicas: 2 } },
    UpdateConfig: { Parallelism: 2, Order: 'start-first', Monitor: 5e8 },
    EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8091 }] },
  } as Docker.CreateServiceOptions)) as Docker.Service;
  const running = async () => {
    const filters = { service: ['node'], 'desired-state': ['running'] };
    const tasks = (await docker.listTasks({ filters })) as { Status: { State: string }; ID: string }[];
    return tasks.filter((task) => task.Status.State === 'running').map((task) => task.ID);
  };
  await eventually('two tasks', async () => (await running()).length === 2 || (await running()).join());
  const listed = await docker.listServices({ filters: { label: ['of=node'] } });
  assert.deepEqual(
    listed.map((one) => one.ID),
    [made.id],
  );
  const [first] = await docker.listContainers({
    filters: { label: ['com.docker.swarm.service.name=node'] },
  });
  const files = await exec(docker, docker.getContainer(first!.Id), ['cat', '/run/secrets/key', '/conf']);
  assert.deepEqual(files, { out: 'xyzzyxyzzy', err: '', code: 0 });

  const logs = await made.logs({ stdout: true, stderr: true, follow: true, tail: 10 });
  await followed(docker, logs as unknown as Readable, async ({ out, err }) => {
    const complete = out.match(/line 2/g)?.length === 2 && err.match(/error 2/g)?.length === 2;
    return complete || JSON.stringify({ out, err });
  });
  const { Spec, Version } = (await made.inspect()) as {
    readonly Spec: Docker.ServiceSpec & { TaskTemplate: Docker.ContainerTaskSpec };
    readonly Version: { readonly Index: number };
  };
  const template = Spec.TaskTemplate;
  const before = await running();
  const changed = { ...template, ContainerSpec: { ...template.ContainerSpec, Env: ['A=2'] } };
  const version = Version.Index;
  await made.update({ ...Spec, TaskTemplate: changed, version } as unknown as Docker.ServiceSpec);
  await assert.rejects(made.update({ ...Spec, version } as unknown as Docker.ServiceSpec), {
    message: /update out of sequence/,
  });
  await eventually('the end of the update', async () => {
    const { UpdateStatus } = (await made.inspect()) as { UpdateStatus?: { State: string } };
    return UpdateStatus?.State === 'completed' || `${UpdateStatus?.State}`;
  });
  const after = await running();
  assert.equal(after.length, 2);
  assert.ok(!after.some((id) => before.includes(id)));
  await assert.rejects(docker.getSecret(used.secret.id).remove(), {
    message: /is in use by the following service: node/,
  });
  await made.remove();
  await assert.rejects(made.inspect(), { statusCode: 404 });
}

async function container(docker: Docker, image: string): Promise<void> {
  const own = await docker.createContainer({
    ...{ name: 'node-own', Image: image, Entrypoint: ['sh', '-c'] },
    Cmd: ['echo bad >&2; read word; echo "got $word"; exit 3'],
    ...{ OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true },
  });
  const stream = await own.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
  const output = demuxed(docker, stream);
  await own.start();
  const inside = await exec(docker, own, ['sh', '-c', 'echo out; echo err >&2; exit 4']);
  assert.deepEqual(inside, { out: 'out\n', err: 'err\n', code: 4 });
  stream.write('hello\n');
  assert.deepEqual(await own.wait(), { StatusCode: 3 });
  assert.deepEqual(await output, { out: 'got hello\n', err: 'bad\n' });
  const kept = (await own.logs({ stdout: true, stderr: false })) as unknown as Buffer;
  assert.match(kept.toString(), /got hello/);
  await own.remove();
}

async function exec(docker: Docker, of: Docker.Container, Cmd: string[]) {
  const made = await of.exec({ Cmd, AttachStdout: true, AttachStderr: true });
  const stream = await made.start({});
  const output = await demuxed(docker, stream);
  const { ExitCode } = await made.inspect();
  return { ...output, code: ExitCode };
}
