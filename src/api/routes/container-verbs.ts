/** What a user does to a container of this node: `docker create`, start, stop, kill, rm, wait, pause, top. */
import { type Answer, empty, json } from '../answer.ts';
import { changedLimits, checkName, newContainer, restartPolicy } from '../convert/new-container.ts';
import { parseFilters } from '../filters.ts';
import { invalid, refused } from '../http-error.ts';
import { PRUNE_FILTERS, pruneFilter } from '../prune-filter.ts';
import { parseBody } from '../normalize.ts';
import { pruneEvent } from '../events.ts';
import { isCode, SkeinError } from '../../model/errors.ts';
import type { EngineBackend } from '../backend.ts';
import type { ApiRequest } from '../request.ts';
import type { Handler, Route } from '../router.ts';
import { containerCreateBody, containerUpdateBody, hostConfig } from '../schemas/host.ts';
import type { ContainerInfo } from '../../containerd/runtime.ts';
import { terminalSize } from './exec.ts';

const NOT_MODIFIED = 304;

async function create(request: ApiRequest): Promise<Answer> {
  const platform = request.text('platform');
  if (platform && !/^linux(\/|$)/.test(platform))
    throw refused(`skein runs linux containers, not ${platform}`);
  const body = await request.json(containerCreateBody);
  const raw = body.HostConfig ?? {};
  const host = parseBody(hostConfig, JSON.stringify(raw));
  const { engine } = request.backends;
  const name = request.text('name').replace(/^\//, '');
  const spec = newContainer(name, body, raw, host, await processors(engine));
  return json({ Id: await engine.control.create(spec), Warnings: [] }, 201);
}

const processors = async (engine: EngineBackend): Promise<number> =>
  Math.floor((await engine.info()).description.resources.nanoCpus / 1e9);

/** A verb of one container; what it returns decides between "done" and "was so already". */
const verb =
  (act: (container: ContainerInfo, request: ApiRequest) => Promise<boolean | void>): Handler =>
  async (request) => {
    const container = await request.backends.engine.container(request.param('id'));
    return empty((await act(container, request)) === false ? NOT_MODIFIED : 204);
  };

/** Seconds; -1 waits for ever. */
function stopOptions(request: ApiRequest): { signal?: string; timeoutMs?: number } {
  const [signal, t] = [request.text('signal'), request.text('t')];
  if (t !== '' && !/^-?\d{1,9}$/.test(t)) throw invalid(`invalid stop timeout '${t}'`);
  const seconds = Number(t);
  return {
    ...(signal && { signal }),
    ...(t !== '' && { timeoutMs: seconds < 0 ? Infinity : seconds * 1000 }),
  };
}

async function stop(container: ContainerInfo, request: ApiRequest): Promise<boolean> {
  const { control } = request.backends.engine;
  const stopped = await control.stop(container, stopOptions(request));
  if (stopped) control.announce(container.id, 'stop');
  return stopped;
}

async function restart(container: ContainerInfo, request: ApiRequest): Promise<void> {
  const { engine } = request.backends;
  await stop(container, request);
  await engine.control.start(await engine.container(container.id));
  engine.control.announce(container.id, 'restart');
}

async function remove(container: ContainerInfo, request: ApiRequest): Promise<void> {
  if (request.flag('link')) throw refused('skein does not serve links between containers');
  const options = { force: request.flag('force'), keepVolumes: !request.flag('v') };
  await request.backends.engine.control.remove(container, options);
}

const CONDITIONS = ['not-running', 'next-exit', 'removed'] as const;

/** The head goes out at once: the CLI starts the container only when it knows that the wait has begun. */
async function wait(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const text = request.text('condition') || 'not-running';
  const condition = CONDITIONS.find((known) => known === text);
  if (!condition) throw invalid(`invalid condition: "${text}"`);
  const line = (body: object) => Buffer.from(`${JSON.stringify(body)}\n`);
  async function* answer() {
    yield line({ StatusCode: await engine.control.wait(container.id, condition!, request.signal) });
  }
  return {
    kind: 'stream',
    contentType: 'application/json',
    chunks: answer(),
    eager: true,
    failure: (message) => line({ StatusCode: 0, Error: { Message: message } }),
  };
}

async function top(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const args = request.text('ps_args');
  if (args !== '' && args !== '-ef') throw refused(`skein shows processes as ps -ef does, not by "${args}"`);
  const container = await engine.container(request.param('id'));
  const processes = await engine.control.top(container.id);
  engine.control.announce(container.id, 'top');
  return json(processes);
}

async function rename(container: ContainerInfo, request: ApiRequest): Promise<void> {
  const name = request.text('name').replace(/^\//, '');
  if (name === '') throw invalid('Neither old nor new names may be empty');
  if (name === container.name) throw invalid('Renaming a container with the same name as its current name');
  await saying('Error when allocating new name', async () => {
    checkName(name, `/${name}`);
    await request.backends.engine.control.rename(container, name);
  });
}

/** What fails in it is told with these words before it. */
async function saying<T>(words: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    const { code, message } = SkeinError.from(error);
    throw new SkeinError(code, `${words}: ${message}`, { cause: error });
  }
}

async function kill(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const ref = request.param('id');
  await saying(`cannot kill container: ${ref}`, async () =>
    engine.control.kill(await engine.container(ref), request.text('signal') || 'SIGKILL'),
  );
  return empty();
}

async function update(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const raw = await request.json(containerUpdateBody);
  const host = parseBody(hostConfig, JSON.stringify(raw));
  const limits = changedLimits(raw, host, await processors(engine));
  const restart = restartPolicy(host);
  if (restart) await engine.control.setRestart(container, restart);
  if (!restart || Object.keys(limits).length > 0) await engine.control.update(container.id, limits);
  return json({ Warnings: null });
}

/** A user's own containers that do not run. Those of tasks are kept for their logs, and go with their tasks. */
async function prune(request: ApiRequest): Promise<Answer> {
  const { engine, events } = request.backends;
  const filters = parseFilters(request.text('filters'), PRUNE_FILTERS);
  const accepted = pruneFilter(filters, request.clock.now());
  const gone: string[] = [];
  let bytes = 0;
  for (const container of await engine.containers()) {
    if (!container.config.restartable || !['created', 'stopped'].includes(container.status)) continue;
    if (!accepted(container.labels, Date.parse(container.createdAt))) continue;
    const size = await engine.written(container.id);
    try {
      await engine.control.remove(container, { force: false, keepVolumes: true });
    } catch (error) {
      if (isCode(error, 'not-found', 'failed-precondition')) continue; // gone, started by now, or about to be
      throw error;
    }
    gone.push(container.id);
    bytes += size;
  }
  events.tell(pruneEvent('container', bytes));
  return json({ ContainersDeleted: gone.length > 0 ? gone : null, SpaceReclaimed: bytes });
}

export const containerVerbRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/containers/prune',
    handler: prune,
    note: 'Containers of a user’s own; those of tasks go with their tasks.',
  },
  {
    method: 'POST',
    path: '/containers/create',
    handler: create,
    note: 'Attached to attachable overlay networks, to the gateway bridge, or to nothing. What is not served is refused by name.',
  },
  {
    method: 'POST',
    path: '/containers/{id}/start',
    handler: verb((c, { backends }) => backends.engine.control.start(c)),
  },
  {
    method: 'POST',
    path: '/containers/{id}/stop',
    handler: verb(stop),
    note: 'The container of a task is replaced by its service.',
  },
  { method: 'POST', path: '/containers/{id}/restart', handler: verb(restart) },
  { method: 'POST', path: '/containers/{id}/rename', handler: verb(rename) },
  {
    method: 'POST',
    path: '/containers/{id}/update',
    handler: update,
    note: 'Memory, processors, pids and the restart policy; what else is asked for is refused by name.',
  },
  { method: 'POST', path: '/containers/{id}/kill', handler: kill },
  { method: 'DELETE', path: '/containers/{id}', handler: verb(remove) },
  { method: 'POST', path: '/containers/{id}/wait', handler: wait },
  {
    method: 'POST',
    path: '/containers/{id}/pause',
    handler: verb((c, { backends }) => backends.engine.control.pause(c)),
  },
  {
    method: 'POST',
    path: '/containers/{id}/unpause',
    handler: verb((c, { backends }) => backends.engine.control.resume(c)),
  },
  {
    method: 'POST',
    path: '/containers/{id}/resize',
    handler: async (request) => {
      const { engine } = request.backends;
      const { id } = await engine.container(request.param('id'));
      const size = terminalSize(request);
      await engine.control.resize(id, size);
      const { height, width } = size;
      engine.control.announce(id, 'resize', { height: String(height), width: String(width) });
      return empty();
    },
  },
  {
    method: 'GET',
    path: '/containers/{id}/top',
    handler: top,
    note: 'As `ps -ef`; other arguments are refused.',
  },
];
