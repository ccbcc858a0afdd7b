import { type Answer, json } from '../answer.ts';
import type { ClusterBackend } from '../backend.ts';
import { taskJson } from '../convert/task.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { type FormattedLine, renderDetails } from '../frames.ts';
import { serviceLogQuery } from '../log-query.ts';
import { logAnswer } from '../log-stream.ts';
import { SkeinError } from '../../model/errors.ts';
import { keepsNothing, logAttributes, UNREADABLE } from '../../model/log-driver.ts';
import type { ServiceId } from '../../model/ids.ts';
import { taskName } from '../../model/names.ts';
import type { Task } from '../../model/objects.ts';
import type { LogRecord } from '../../rpc/messages.ts';
import { isTerminal } from '../../model/task-state.ts';
import type { View } from '../../store/view.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { byId } from './nodes.ts';

const FILTERS = ['id', 'label', 'desired-state', 'name', 'node', 'service', 'runtime', '_up-to-date'];
const DESIRED = ['running', 'shutdown', 'accepted', 'ready', 'complete', 'remove'];

/** What `service` and `node` refer to, as in Docker: one object each, or the answer is that there is none such. */
const referred = (refs: readonly string[], find: (ref: string) => { id: string }): ReadonlySet<string> =>
  new Set(refs.map((ref) => find(ref).id));

/** The smallest set that holds what the filters ask for: a service's, a node's, or all tasks. */
function candidates(services: ReadonlySet<string>, nodes: ReadonlySet<string>, view: View): Iterable<Task> {
  if (services.size > 0)
    return [...services].flatMap((id) => [...view.tasksOfService(id as Task['serviceId'])]);
  if (nodes.size > 0)
    return [...nodes].flatMap((id) => [...view.tasksOfNode(id as NonNullable<Task['nodeId']>)]);
  return view.all('task').values();
}

/** Removed and ended: kept only for the quarantine of its addresses, which is nobody's business. */
const isGone = (task: Task): boolean => task.desiredState === 'remove' && isTerminal(task.status.state);

type Tasks = Pick<ClusterBackend, 'view' | 'isUpToDate' | 'service' | 'node'>;

function selectTasks(filters: Filters, cluster: Tasks): Task[] {
  const { view } = cluster;
  const services = referred(filters.get('service'), (ref) => cluster.service(ref));
  const nodes = referred(filters.get('node'), (ref) => cluster.node(ref));
  const upToDate = filters.flag('_up-to-date');
  return [...candidates(services, nodes, view)].filter(
    (task) =>
      !isGone(task) &&
      task.spec.Runtime !== 'attachment' && // Docker shows none either
      (services.size === 0 || services.has(task.serviceId)) &&
      (nodes.size === 0 || nodes.has(task.nodeId ?? '')) &&
      filters.any('id', (prefix) => task.id.startsWith(prefix)) &&
      filters.any('name', (prefix) => taskName(task).startsWith(prefix)) &&
      filters.any('desired-state', (state) => task.desiredState === state) &&
      filters.any('runtime', (runtime) => runtime === 'container') &&
      filters.labels('label', task.serviceLabels) &&
      (upToDate !== true || cluster.isUpToDate(task)),
  );
}

function list(request: ApiRequest): Answer {
  const cluster = request.cluster();
  const { view } = cluster;
  const filters = parseFilters(request.text('filters'), FILTERS, { 'desired-state': DESIRED });
  return json(
    selectTasks(filters, cluster)
      .sort(byId)
      .map((task) => taskJson(task, (id) => view.get('network', id))),
  );
}

function inspect(request: ApiRequest): Answer {
  const cluster = request.cluster();
  return json(taskJson(cluster.task(request.param('id')), (id) => cluster.view.get('network', id)));
}

function logs(request: ApiRequest): Answer {
  const cluster = request.cluster();
  const task = cluster.task(request.param('id'));
  return taskLogs(request, cluster, { tasks: [task], tty: task.spec.ContainerSpec.TTY ?? false });
}

export function taskLogs(
  request: ApiRequest,
  cluster: ClusterBackend,
  of: { readonly tasks: readonly Task[]; readonly tty: boolean; readonly service?: ServiceId },
): Answer {
  const { tasks, tty, service } = of;
  const query = serviceLogQuery(request);
  const readable = tasks.filter((task) => !keepsNothing(task.spec.LogDriver));
  if (readable.length === 0 && tasks.length > 0) throw new SkeinError('unimplemented', UNREADABLE);
  const known = new Map(readable.map((task) => [task.id, task]));
  const details = request.flag('details');
  const records = cluster.logs(
    { ...query, tasks: [...known.keys()], ...(service && { service }) },
    request.signal,
  );
  const lines = format(records, (id) =>
    details ? attributes(known.get(id) ?? cluster.view.get('task', id)) : undefined,
  );
  return logAnswer(lines, { tty, timestamps: request.flag('timestamps') });
}

async function* format(
  records: AsyncIterable<LogRecord>,
  details: (id: Task['id']) => string | undefined,
): AsyncGenerator<FormattedLine, void, undefined> {
  for await (const { taskId, stream, time, data } of records)
    yield { stream, time, data: Buffer.from(data, 'base64'), details: details(taskId) };
}

/** The CLI reads task and node of a line from these; without them it shows nothing at all. */
const attributes = (task: Task | undefined): string =>
  task
    ? renderDetails({
        ...logAttributes({
          id: task.status.container?.containerId ?? '',
          name: taskName(task),
          image: task.spec.ContainerSpec.Image,
          logging: task.spec.LogDriver,
          labels: task.spec.ContainerSpec.Labels ?? {},
          env: task.spec.ContainerSpec.Env ?? [],
        }),
        'com.docker.swarm.node.id': task.nodeId ?? '',
        'com.docker.swarm.service.id': task.serviceId,
        'com.docker.swarm.task.id': task.id,
      })
    : '';

export const taskRoutes: readonly Route[] = [
  { method: 'GET', path: '/tasks', handler: list },
  { method: 'GET', path: '/tasks/{id}', handler: inspect },
  { method: 'GET', path: '/tasks/{id}/logs', handler: logs },
];
