/** `docker exec`: made, started on a connection of its own (or detached), resized, asked for its exit code. */
import { type Answer, empty, json } from '../answer.ts';
import { converseWith } from '../conversation.ts';
import type { ExecInstance } from '../exec-instances.ts';
import { frame } from '../frames.ts';
import { conflict, httpError, invalid } from '../http-error.ts';
import { MULTIPLEXED, RAW_STREAM } from '../log-stream.ts';
import type { TerminalSize } from '../../containerd/process.ts';
import type { ApiRequest } from '../request.ts';
import { compareVersions, type Route } from '../router.ts';
import { execCreateBody, execStartBody } from '../schemas/host.ts';

async function create(request: ApiRequest): Promise<Answer> {
  const { engine, execs } = request.backends;
  const body = await request.json(execCreateBody);
  const container = await engine.container(request.param('id'));
  if (body.Cmd.length === 0) throw invalid('No exec command specified');
  if (container.status === 'paused')
    throw conflict(`container ${request.param('id')} is paused, unpause the container before exec`);
  if (container.status !== 'running') throw conflict(`container ${container.id} is not running`);
  const id = execs.create(
    container,
    {
      args: body.Cmd,
      env: body.Env ?? [],
      cwd: body.WorkingDir ?? '',
      user: body.User ?? '',
      tty: body.Tty ?? false,
      privileged: body.Privileged ?? false,
      stdin: body.AttachStdin ?? false,
      stdout: body.AttachStdout ?? false,
      stderr: body.AttachStderr ?? false,
      output: (body.AttachStdout || body.AttachStderr) ?? false,
      detachKeys: body.DetachKeys ?? '',
    },
    sizeOf(body.ConsoleSize),
  );
  return json({ Id: id }, 201);
}

const sizeOf = (size: readonly number[] | undefined): TerminalSize | undefined =>
  size?.[0] && size[1] ? { height: size[0], width: size[1] } : undefined;

async function start(request: ApiRequest): Promise<Answer> {
  const { execs } = request.backends;
  const body = await request.json(execStartBody);
  const id = request.param('id');
  const { request: exec } = execs.get(id);
  execs.checkStart(id);
  const size = sizeOf(body.ConsoleSize);
  if (body.Detach) {
    await execs.start(id, { detach: true, size });
    return empty();
  }
  const framed = !exec.tty && compareVersions(request.version, '1.42') >= 0;
  return {
    kind: 'duplex',
    contentType: framed ? MULTIPLEXED : RAW_STREAM,
    async talk(peer) {
      let process;
      try {
        process = await execs.start(id, { detach: false, size });
      } catch (error) {
        // The connection is the conversation's by now: the reason is told in it, as Docker does.
        const words = Buffer.from(`${httpError(error).message}\r\n`);
        return peer.write(exec.tty ? words : frame('stdout', words));
      }
      if (!exec.stdout) process.stdout?.resume();
      if (!exec.stderr) process.stderr?.resume();
      const stdout = exec.stdout || exec.tty ? process.stdout : undefined;
      const stderr = exec.stderr ? process.stderr : undefined;
      await converseWith(peer, { stdin: process.stdin, stdout, stderr }, exec.tty);
      await process.exit; // the client asks for the exit code next
    },
  };
}

async function resize(request: ApiRequest): Promise<Answer> {
  await request.backends.execs.resize(request.param('id'), terminalSize(request));
  return empty();
}

export function terminalSize(request: ApiRequest): TerminalSize {
  const number = (name: string): number => {
    const value = request.text(name);
    if (!/^\d{1,5}$/.test(value))
      throw invalid(`invalid resize ${name === 'h' ? 'height' : 'width'}: "${value}"`);
    return Number(value);
  };
  return { height: number('h'), width: number('w') };
}

async function inspect(request: ApiRequest): Promise<Answer> {
  return json(execJson(request.backends.execs.get(request.param('id'))));
}

const execJson = ({ id, containerId, request, state, pid, exitCode }: ExecInstance): object => ({
  ID: id,
  Running: state === 'running',
  ExitCode: exitCode ?? null,
  ProcessConfig: {
    tty: request.tty,
    entrypoint: request.args[0],
    arguments: request.args.slice(1),
    privileged: request.privileged,
    ...(request.user && { user: request.user }),
  },
  OpenStdin: request.stdin,
  OpenStderr: request.stderr,
  OpenStdout: request.stdout,
  CanRemove: false,
  ContainerID: containerId,
  DetachKeys: request.detachKeys,
  Pid: pid,
});

export const execRoutes: readonly Route[] = [
  { method: 'POST', path: '/containers/{id}/exec', handler: create },
  {
    method: 'POST',
    path: '/exec/{id}/start',
    handler: start,
    note: 'Takes over the connection; without an Upgrade header the client can only listen.',
  },
  { method: 'POST', path: '/exec/{id}/resize', handler: resize },
  { method: 'GET', path: '/exec/{id}/json', handler: inspect, note: 'Known until skeind restarts.' },
];
