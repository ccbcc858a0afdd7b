/** The demo image in a real container; and a lab with real containers in it, taken down while they run. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Containerd } from '../../src/containerd/containerd.ts';
import { ContainerdProcess } from '../../src/containerd/daemon-process.ts';
import type { ContainerSpec } from '../../src/model/spec.ts';
import type { ContainerId } from '../../src/model/ids.ts';
import { systemClock } from '../../src/kit/clock.ts';
import { silentLog } from '../../src/kit/log.ts';
import { until } from '../../src/lab/cluster.ts';
import { buildImage } from '../../src/lab/image.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { parseAnswer } from '../../src/cli/demo/facts.ts';
import { machineState } from './machine.ts';

const NAME = 'test-image';
const IMAGE = 'test/web:1';

afterEach(async () => {
  await downLab(NAME);
});

async function withContainerd(use: (lab: Lab, runtime: Containerd) => Promise<void>): Promise<void> {
  const lab = await Lab.up(
    { name: NAME, nodes: 1, cluster: false },
    {
      daemon: (node) => [process.execPath, '-e', 'setInterval(() => {}, 1e6)', node.runRoot],
      isUp: () => Promise.resolve(true),
    },
  );
  const { dataRoot, runRoot, cgroupParent } = lab.node('node1');
  const base = { dataRoot, runRoot, clock: systemClock, log: silentLog };
  const daemon = new ContainerdProcess(base);
  await daemon.start();
  const runtime = await Containerd.open({
    ...base,
    socket: daemon.socket,
    cgroupParent,
    insecureRegistries: [],
  });
  try {
    const { tar } = await buildImage({ name: IMAGE, server: { udp: 53, lines: 2 } });
    const archive = (async function* () {
      yield await Promise.resolve(tar);
    })();
    assert.deepEqual(await runtime.images.load(archive), [IMAGE]);
    await use(lab, runtime);
  } finally {
    await runtime.close();
    await daemon.close();
  }
}

async function run(lab: Lab, runtime: Containerd, spec: Partial<ContainerSpec> = {}): Promise<ContainerId> {
  const id = 'c'.repeat(64) as ContainerId;
  await runtime.create({
    id,
    name: 'web.1',
    image: IMAGE,
    spec: { Image: IMAGE, ...spec },
    limits: undefined,
    hostname: 'answerer',
    netnsPath: lab.node('node1').netns,
    files: {},
    labels: {},
  });
  await runtime.start(id);
  return id;
}

async function stopped(runtime: Containerd, id: ContainerId): Promise<number> {
  let code = -1;
  await until(
    'the container to end',
    async () => {
      const info = await runtime.get(id);
      code = info?.exitCode ?? -1;
      return info?.status === 'stopped' || `it is ${info?.status}`;
    },
    { timeoutMs: 20_000 },
  );
  return code;
}

async function answers(lab: Lab): Promise<string> {
  let text = '';
  await until(
    'an answer',
    async () => {
      const argv = ['busybox', 'wget', '-q', '-O', '-', 'http://192.0.2.11/'];
      text = (await lab.exec('client', argv, { accept: [0, 1] })).stdout;
      return text !== '' || 'none';
    },
    { timeoutMs: 20_000 },
  );
  return text;
}

test('the server says who answers, and ends at once when told to', async () => {
  await withContainerd(async (lab, runtime) => {
    const id = await run(lab, runtime);
    const answer = parseAnswer(await answers(lab));
    assert.equal(answer?.container, 'answerer');
    assert.deepEqual(answer?.addresses, ['192.0.2.11']);
    assert.match(answer?.client ?? '', /^192\.0\.2\.200:\d+$/);
    const started = Date.now();
    await runtime.kill(id, 'SIGTERM');
    assert.equal(await stopped(runtime, id), 0);
    assert.ok(Date.now() - started < 5_000);
  });
});

test('arguments of the service make it end by itself, or deaf to SIGTERM', async () => {
  await withContainerd(async (lab, runtime) => {
    const id = await run(lab, runtime, { Args: ['exit=7'] });
    assert.equal(await stopped(runtime, id), 7);
    await runtime.remove(id);
    await run(lab, runtime, { Args: ['deaf=1'] });
    await answers(lab);
    await runtime.kill(id, 'SIGTERM');
    assert.match(await answers(lab), /container answerer/);
    assert.equal((await runtime.get(id))?.status, 'running');
  });
});

test('down takes running containers along: shims, mounts, cgroups, sockets', async () => {
  const before = await machineState(NAME);
  await withContainerd(async (lab, runtime) => {
    await run(lab, runtime);
    await answers(lab);
    const during = await machineState(NAME);
    assert.notDeepEqual(during.cgroups, before.cgroups);
    assert.notDeepEqual(during.mounts, before.mounts);
    assert.ok(during.processes!.some((line) => line.includes('containerd-shim')));
  });
  await downLab(NAME);
  assert.deepEqual(await machineState(NAME), before);
});

test('a killed node takes its containers along', async () => {
  await withContainerd(async (lab, runtime) => {
    await run(lab, runtime);
    await answers(lab);
    await lab.kill('node1', 'all');
    const argv = ['busybox', 'nc', '-w', '1', '192.0.2.11', '80'];
    assert.equal((await lab.exec('client', argv, { accept: [0, 1] })).code, 1);
    assert.equal(lab.report().nodes[0]!.pids.skeind, null);
  });
});
