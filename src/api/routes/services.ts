import { type Answer, empty, json } from '../answer.ts';
import type { ClusterBackend } from '../backend.ts';
import { canonical } from '../convert/service-spec.ts';
import { serviceJson, serviceStatus } from '../convert/service.ts';
import { type Filters, parseFilters } from '../filters.ts';
import { invalid } from '../http-error.ts';
import type { Service } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { isCode } from '../../model/errors.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { serviceSpec } from '../schemas/cluster.ts';
import { byId } from './nodes.ts';
import { taskLogs } from './tasks.ts';

const MODES = ['replicated', 'global', 'replicated-job', 'global-job'];

function modeOf({ Mode }: ServiceSpec): string {
  if (Mode.Global) return 'global';
  if (Mode.GlobalJob) return 'global-job';
  return Mode.ReplicatedJob ? 'replicated-job' : 'replicated';
}

function accepts(filters: Filters, { id, spec }: Service): boolean {
  return (
    filters.any('id', (prefix) => id.startsWith(prefix)) &&
    filters.any('name', (prefix) => spec.Name.startsWith(prefix)) &&
    filters.any('mode', (mode) => mode === modeOf(spec)) &&
    filters.any('runtime', (runtime) => runtime === 'container') &&
    filters.labels('label', spec.Labels)
  );
}

const withStatus = (service: Service, cluster: ClusterBackend) => ({
  status: serviceStatus(service, cluster.view.tasksOfService(service.id)),
});

function list(request: ApiRequest): Answer {
  const cluster = request.cluster();
  const filters = parseFilters(request.text('filters'), ['id', 'label', 'mode', 'name', 'runtime'], {
    mode: MODES,
  });
  const services = [...cluster.view.all('service').values()].filter((service) => accepts(filters, service));
  const status = request.flag('status');
  return json(
    services.sort(byId).map((service) => serviceJson(service, status ? withStatus(service, cluster) : {})),
  );
}

function inspect(request: ApiRequest): Answer {
  const service = request.cluster().service(request.param('id'));
  return json(serviceJson(service, { insertDefaults: request.flag('insertDefaults') }));
}

/** Network names become ids, so that a network renamed or made anew is never meant by accident. */
function resolved(spec: ServiceSpec, cluster: ClusterBackend): ServiceSpec {
  const { Networks } = spec.TaskTemplate;
  if (!Networks) return spec;
  return {
    ...spec,
    TaskTemplate: {
      ...spec.TaskTemplate,
      Networks: Networks.map((network) => ({ ...network, Target: networkId(network.Target, cluster) })),
    },
  };
}

function networkId(target: string, cluster: ClusterBackend): string {
  try {
    return cluster.network(target).id;
  } catch (error) {
    if (isCode(error, 'not-found')) throw invalid(`network ${target} not found`);
    throw error;
  }
}

async function parsed(request: ApiRequest, cluster: ClusterBackend): Promise<ServiceSpec> {
  return resolved(canonical(await request.json(serviceSpec)), cluster);
}

async function create(request: ApiRequest): Promise<Answer> {
  const cluster = request.cluster();
  const spec = await parsed(request, cluster);
  const { id, warnings } = await cluster.createService(spec, request.registryAuth().raw);
  return json({ ID: id, ...(warnings.length > 0 && { Warnings: warnings }) }, 201);
}

async function update(request: ApiRequest): Promise<Answer> {
  const cluster = request.cluster();
  const version = request.objectVersion('service');
  const rollback = request.text('rollback');
  if (rollback !== '' && rollback !== 'previous' && rollback !== 'none')
    throw invalid(`unrecognized rollback option ${rollback}`);
  const from = request.text('registryAuthFrom');
  if (!['', 'spec', 'previous-spec'].includes(from)) throw invalid('unsupported registryAuthFrom value');
  const spec = await parsed(request, cluster);
  const { raw } = request.registryAuth();
  const { warnings } = await cluster.updateService(request.param('id'), version, spec, {
    ...(raw !== undefined && { registryAuth: raw }),
    ...(from !== '' && { registryAuthFrom: from as 'spec' | 'previous-spec' }),
    rollback: rollback === 'previous',
  });
  return json({ Warnings: warnings.length > 0 ? warnings : null });
}

async function remove(request: ApiRequest): Promise<Answer> {
  await request.cluster().removeService(request.param('id'));
  return empty();
}

function logs(request: ApiRequest): Answer {
  const cluster = request.cluster();
  const service = cluster.service(request.param('id'));
  const tasks = [...cluster.view.tasksOfService(service.id)];
  const tty = service.spec.TaskTemplate.ContainerSpec.TTY ?? false;
  return taskLogs(request, cluster, { tasks, tty, service: service.id });
}

export const serviceRoutes: readonly Route[] = [
  { method: 'GET', path: '/services', handler: list },
  { method: 'POST', path: '/services/create', handler: create },
  { method: 'GET', path: '/services/{id}', handler: inspect },
  { method: 'POST', path: '/services/{id}/update', handler: update },
  { method: 'DELETE', path: '/services/{id}', handler: remove },
  { method: 'GET', path: '/services/{id}/logs', handler: logs },
];
