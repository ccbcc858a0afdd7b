import { type Answer, json } from '../answer.ts';
import {
  type ContainerNetwork,
  containerJson,
  containerSummary,
  isUp,
  networksToCome,
  sizeJson,
  TASK_LABEL,
} from '../convert/container.ts';
import { type FormattedLine, renderDetails } from '../frames.ts';
import { invalid } from '../http-error.ts';
import { logQuery } from '../log-query.ts';
import { logAnswer } from '../log-stream.ts';
import type { ContainerInfo, LogLine } from '../../containerd/runtime.ts';
import { SkeinError } from '../../model/errors.ts';
import type { TaskId } from '../../model/ids.ts';
import { keepsNothing, logAttributes, UNREADABLE } from '../../model/log-driver.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { accepts, bounds, containerFilters } from './container-filters.ts';

async function networksOf(
  request: ApiRequest,
  container: ContainerInfo,
): Promise<readonly ContainerNetwork[]> {
  if (!isUp(container) && container.config.restartable) return networksToCome(container);
  const own = await request.backends.engine.containerNetworks?.(container.id);
  if (own) return own;
  const view = request.backends.cluster()?.view;
  const task = view?.get('task', (container.labels[TASK_LABEL] ?? '') as TaskId);
  if (!view || !task) return [];
  return task.attachments.map(({ networkId, address, mac, aliases }) => {
    const network = view.get('network', networkId);
    return {
      networkId,
      address,
      mac,
      aliases,
      name: network?.spec.Name ?? networkId,
      gateway: network?.state?.gateway ?? '',
    };
  });
}

async function list(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const filters = containerFilters(request.text('filters'));
  const { before, since } = await bounds(engine, filters);
  const images = new Map((await engine.images.list()).map((image) => [image.id, image]));
  const limit = limitOf(request);
  const all = request.flag('all') || limit > 0 || filters.has('status');
  const known = (await engine.containers()).map(async (container) => ({
    container,
    restarts: await engine.restarts(container),
  }));
  const chosen = (await Promise.all(known))
    .filter(({ container, restarts }) => all || isUp(container) || restarts?.waiting)
    .filter(({ container: c }) => (!before || c.createdAt < before) && (!since || c.createdAt > since))
    .sort((a, b) => (a.container.createdAt > b.container.createdAt ? -1 : 1));
  const portsOf = await engine.ports?.();
  const size = request.flag('size');
  const lines = [];
  for (const { container, restarts } of chosen) {
    if (limit > 0 && lines.length === limit) break;
    const state = {
      image: images.get(container.imageId),
      health: await engine.health(container),
      networks: await networksOf(request, container),
      ports: portsOf?.get(container.id) ?? [],
      restarts,
    };
    if (accepts(filters, container, state))
      lines.push({
        ...containerSummary(container, state, request.clock.now()),
        ...(size && sizeJson(await engine.written(container.id), state.image)),
      });
  }
  return json(lines);
}

/** `-n`; -1, which the CLI sends unasked, is none. */
function limitOf(request: ApiRequest): number {
  const text = request.text('limit');
  if (!/^(-?\d{1,9})?$/.test(text)) throw invalid(`invalid limit: "${text}"`);
  return Math.max(0, Number(text));
}

async function inspect(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const image = await engine.images.get(container.imageId);
  const networks = await networksOf(request, container);
  const health = await engine.health(container);
  const ports = (await engine.ports?.())?.get(container.id) ?? [];
  const restarts = await engine.restarts(container);
  const size = request.flag('size') && {
    SizeRw: 0,
    ...sizeJson(await engine.written(container.id), image),
  };
  return json({ ...containerJson(container, { image, networks, health, ports, restarts }), ...size });
}

async function logs(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const container = await engine.container(request.param('id'));
  const query = logQuery(request);
  const { id, name, image } = container;
  const { logging, labels, spec } = container.config;
  const details = request.flag('details')
    ? renderDetails(logAttributes({ id, name, image, logging, labels, env: spec.Env ?? [] }))
    : undefined;
  if (keepsNothing(logging)) throw new SkeinError('unimplemented', UNREADABLE);
  const tty = spec.TTY ?? false;
  const lines = plain(engine.logs(container.id, query, request.signal), details);
  return logAnswer(lines, { tty, timestamps: request.flag('timestamps') });
}

async function* plain(
  lines: AsyncIterable<LogLine>,
  details: string | undefined,
): AsyncGenerator<FormattedLine, void, undefined> {
  for await (const line of lines) yield { ...line, details };
}

export const containerRoutes: readonly Route[] = [
  { method: 'GET', path: '/containers/json', handler: list },
  { method: 'GET', path: '/containers/{id}/json', handler: inspect },
  { method: 'GET', path: '/containers/{id}/logs', handler: logs },
];
