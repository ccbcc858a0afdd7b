/** A Docker Swarm of one node from Debian's docker.io, in namespaces and folders of its own: the peer of `bench deploy`. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { runProcess } from '../../kit/process.ts';
import { EngineClient } from '../../lab/client.ts';
import { until } from '../../lab/cluster.ts';
import type { BuiltImage } from '../../lab/image-archive.ts';
import { SkeinError } from '../../model/errors.ts';
import { createNetns, removeNetns } from '../../kit/netns.ts';
import { makePlace } from './place.ts';
import type { BenchStage } from './stage.ts';

export interface DockerSwarm {
  readonly engine: EngineClient;
  /** Where it is reached, inside its own namespace. */
  readonly address: string;
}

/** What it needs of a benchmark's stage: when to stop, and where to leave what is to be undone. */
export type PeerStage = Pick<BenchStage, 'signal' | 'cleanUp'>;

const ADDRESS = '198.51.100.10';

/** What dockerd leaves outside the folders it is given; removed afterwards where it was not there before. */
const STRAY = ['/etc/docker/key.json', '/run/docker'];

export async function startDockerSwarm(stage: PeerStage, image: BuiltImage): Promise<DockerSwarm> {
  const { signal } = stage;
  const { folder, cgroupParent } = makePlace(stage, 'bench-docker');
  const stray = STRAY.filter((path) => !existsSync(path));
  stage.cleanUp(() => stray.forEach((path) => rmSync(path, { recursive: true, force: true })));
  const netns = await makeHost(stage);
  const socket = join(folder, 'docker.sock');
  const log = join(folder, 'dockerd.log');
  // A mount namespace of its own: what it mounts goes with it. Each program becomes the next one, the pid stays.
  const argv = [
    ...[`--net=${netns}`, '--', 'unshare', '--mount', '--propagation', 'private'],
    ...['dockerd', '--host', `unix://${socket}`, '--data-root', join(folder, 'data')],
    ...['--exec-root', join(folder, 'run'), '--pidfile', join(folder, 'pid')],
    ...['--cgroup-parent', cgroupParent],
  ];
  const output = openSync(log, 'a');
  const daemon = spawn('nsenter', argv, { stdio: ['ignore', output, output], detached: true });
  closeSync(output);
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
  return { engine, address: ADDRESS };
}

/** A network namespace with one address, on a link that leads nowhere. */
async function makeHost(stage: PeerStage): Promise<string> {
  const path = `/run/netns/skein-bench-docker-${process.pid}`;
  createNetns(path);
  stage.cleanUp(() => removeNetns(path));
  for (const command of [
    'link set lo up',
    'link add eth0 type veth peer name eth0-end',
    `address add ${ADDRESS}/24 dev eth0`,
    'link set eth0 up',
    'link set eth0-end up',
  ])
    await runProcess(['nsenter', `--net=${path}`, '--', 'ip', ...command.split(' ')]);
  return path;
}
