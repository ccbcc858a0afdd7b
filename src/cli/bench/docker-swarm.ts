/** A Docker Swarm of one node from Debian's docker.io, in namespaces and folders of its own: the peer of `bench deploy`. */
import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runProcess } from '../../kit/process.ts';
import { EngineClient } from '../../lab/client.ts';
import { until } from '../../lab/cluster.ts';
import type { BuiltImage } from '../../lab/image-archive.ts';
import { SkeinError } from '../../model/errors.ts';
import type { BenchStage } from './stage.ts';

export interface DockerSwarm {
  readonly engine: EngineClient;
}

const ADDRESS = '198.51.100.10';

export async function startDockerSwarm(stage: BenchStage, image: BuiltImage): Promise<DockerSwarm> {
  const { signal } = stage;
  const root = mkdtempSync(join(tmpdir(), 'skein-bench-docker-'));
  const netns = `skein-bench-docker-${process.pid}`;
  stage.cleanUp(() => rmSync(root, { recursive: true, force: true }));
  await runProcess(['ip', 'netns', 'add', netns]);
  stage.cleanUp(async () => void (await runProcess(['ip', 'netns', 'delete', netns])));
  const inside = (...argv: string[]) => runProcess(['nsenter', `--net=/run/netns/${netns}`, '--', ...argv]);
  await inside('ip', 'link', 'set', 'lo', 'up');
  await inside('ip', 'link', 'add', 'eth0', 'type', 'dummy');
  await inside('ip', 'address', 'add', `${ADDRESS}/24`, 'dev', 'eth0');
  await inside('ip', 'link', 'set', 'eth0', 'up');

  const socket = join(root, 'docker.sock');
  const log = join(root, 'dockerd.log');
  // A mount namespace of its own: what it mounts goes with it.
  const argv = [
    ...[`--net=/run/netns/${netns}`, '--', 'unshare', '--mount', '--propagation', 'private'],
    ...['dockerd', '--host', `unix://${socket}`, '--data-root', join(root, 'data')],
    ...[
      '--exec-root',
      join(root, 'run'),
      '--pidfile',
      join(root, 'pid'),
      '--cgroup-parent',
      '/skein-lab/bench-docker',
    ],
  ];
  const output = openSync(log, 'a');
  const daemon = spawn('nsenter', argv, { stdio: ['ignore', output, output], detached: true });
  const ended = new Promise<void>((resolve) => daemon.on('close', () => resolve()));
  const engine = new EngineClient(socket);
  stage.cleanUp(async () => {
    await engine
      .post('/swarm/leave', undefined, { query: { force: 1 }, timeoutMs: 30_000 })
      .catch(() => undefined);
    daemon.kill('SIGTERM');
    await ended;
  });
  await until(
    'dockerd to answer',
    async () => {
      if (await engine.ping()) return true;
      const text = readFileSync(log, 'utf8').slice(-1500);
      if (daemon.exitCode !== null) throw new SkeinError('unavailable', `dockerd ended: ${text}`);
      return text;
    },
    { timeoutMs: 60_000, signal },
  );
  await engine.load(image.tar, signal);
  await engine.post('/swarm/init', { ListenAddr: `${ADDRESS}:2377`, AdvertiseAddr: ADDRESS });
  return { engine };
}
