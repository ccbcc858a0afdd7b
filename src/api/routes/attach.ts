/**
 * `docker attach`: a container's output as it comes, and its input. Output comes by way of the log records, so nothing
 * is lost to a client that attaches before the start, and a slow client holds up nobody.
 */
import type { Answer, Peer } from '../answer.ts';
import { feed } from '../conversation.ts';
import { frame } from '../frames.ts';
import { invalid } from '../http-error.ts';
import { MULTIPLEXED, RAW_STREAM } from '../log-stream.ts';
import { ALL_OUTPUT, type ContainerInfo } from '../../containerd/runtime.ts';
import type { StandaloneSpec } from '../../model/standalone.ts';
import type { EngineBackend } from '../backend.ts';
import type { ApiRequest } from '../request.ts';
import { compareVersions, type Route } from '../router.ts';

interface Wanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly past: boolean;
  readonly stream: boolean;
}

async function attach(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const wanted: Wanted = {
    stdin: request.flag('stdin'),
    stdout: request.flag('stdout'),
    stderr: request.flag('stderr'),
    past: request.flag('logs'),
    stream: request.flag('stream'),
  };
  if (container.status === 'paused')
    throw invalid(`container ${container.id} is paused, unpause the container before attach`);
  const tty = container.config.spec.TTY ?? false;
  engine.control.announce(container.id, 'attach');
  const framed = !tty && compareVersions(request.version, '1.42') >= 0;
  return {
    kind: 'duplex',
    contentType: framed ? MULTIPLEXED : RAW_STREAM,
    talk: (peer) => talk(peer, engine, container, wanted, tty),
  };
}

async function talk(
  peer: Peer,
  engine: EngineBackend,
  container: ContainerInfo,
  wanted: Wanted,
  tty: boolean,
): Promise<void> {
  const over = new AbortController();
  const signal = AbortSignal.any([peer.signal, over.signal]);
  if (wanted.stdin && wanted.stream) void input(peer, engine, container, signal);
  try {
    for await (const line of output(engine, container, wanted, signal))
      if (wanted[line.stream]) await peer.write(tty ? line.data : frame(line.stream, line.data));
  } finally {
    over.abort();
  }
}

const output = (
  engine: EngineBackend,
  container: ContainerInfo,
  { past, stream }: Wanted,
  signal: AbortSignal,
) =>
  stream
    ? engine.control.attach(container, past, signal)
    : engine.logs(container.id, past ? ALL_OUTPUT : { ...ALL_OUTPUT, tail: 0 }, signal);

/** A container whose input is for one client alone ends it with the client's. */
async function input(
  peer: Peer,
  engine: EngineBackend,
  container: ContainerInfo,
  signal: AbortSignal,
): Promise<void> {
  try {
    const stdin = await engine.control.stdin(container, signal);
    const once = (container.config.notes as StandaloneSpec | undefined)?.stdinOnce ?? false;
    if (stdin) await feed({ ...peer, signal }, stdin, once);
  } catch {
    // it ended before it could be written to: its output says so
  }
}

export const attachRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/containers/{id}/attach',
    handler: attach,
    note: 'Takes over the connection; without an Upgrade header the client can only listen.',
  },
];
