import { type Answer, empty, json } from '../answer.ts';
import {
  type NetworkResource,
  containersJson,
  localNetworkJson,
  networkJson,
  peersJson,
  servicesJson,
} from '../convert/network.ts';
import { wantedStand } from '../convert/new-container.ts';
import type { EngineBackend } from '../backend.ts';
import { type Filters, matches, parseFilters } from '../filters.ts';
import type { NetworkItem } from '../../model/network-view.ts';
import type { Network } from '../../model/objects.ts';
import { invalid, notFound, refused } from '../http-error.ts';
import { PRUNE_FILTERS, pruneFilter } from '../prune-filter.ts';
import { pruneEvent } from '../events.ts';
import { isCode } from '../../model/errors.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { networkRequest, networkSpec } from '../schemas/cluster.ts';
import { connectBody, disconnectBody } from '../schemas/host.ts';

const WORDS = { scope: ['swarm', 'global', 'local'], type: ['custom', 'builtin'] };
const FILTERS = ['driver', 'id', 'label', 'name', 'scope', 'type', 'dangling'];

function accepts(filters: Filters, network: NetworkResource): boolean {
  return (
    filters.any('driver', (driver) => network.Driver === driver) &&
    filters.any('id', (id) => matches(id, network.Id)) &&
    filters.any('name', (name) => matches(name, network.Name)) &&
    filters.any('scope', (scope) => network.Scope === scope) &&
    filters.any('type', (type) => type === 'custom') &&
    filters.labels('label', network.Labels)
  );
}

async function list(request: ApiRequest): Promise<Answer> {
  const filters = parseFilters(request.text('filters'), FILTERS, WORDS);
  const dangling = filters.flag('dangling');
  const view = request.backends.cluster()?.view;
  const unused = (id: string): boolean => !view || view.tasksOfNetwork(id as Network['id']).size === 0;
  return json(
    (await resources(request))
      .filter((network) => accepts(filters, network))
      .filter((network) => dangling === undefined || (unused(network.Id) && !network.Ingress) === dangling),
  );
}

/** All overlay networks on a manager, those of this node elsewhere. Skein has no networks of one host. */
async function resources(request: ApiRequest): Promise<readonly NetworkResource[]> {
  const cluster = request.backends.cluster();
  if (cluster)
    return [...cluster.view.all('network').values()]
      .sort((a, b) => (a.spec.Name < b.spec.Name ? -1 : 1))
      .map(networkJson);
  return ((await request.backends.engine.networks?.()) ?? []).map(localNetworkJson);
}

async function inspect(request: ApiRequest): Promise<Answer> {
  const ref = request.param('id');
  const { engine, swarm } = request.backends;
  const scope = request.text('scope');
  if (scope !== '' && scope !== 'swarm' && scope !== 'global') throw notFound(`network ${ref} not found`);
  const cluster = request.backends.cluster();
  if (!cluster) return json(await inspectLocal(request, ref));
  const network = cluster.network(ref);
  const local = await engine.networkContainers(network.id);
  const nodes = network.spec.Ingress ? cluster.view.all('node').values() : [];
  const containers = containersJson(network.id, local, nodes, swarm.state().nodeId);
  const peers = peersJson(network, cluster.view);
  return json({
    ...networkJson(network),
    // As Docker has it: a network that stands on this node is told by the node's driver, another by the manager.
    ...(Object.keys(containers).length > 0 && {
      Containers: containers,
      Labels: network.spec.Labels ?? {},
    }),
    ...(peers.length > 0 && { Peers: peers }),
    ...(request.flag('verbose') && { Services: servicesJson(network, cluster.view) }),
  });
}

async function inspectLocal(request: ApiRequest, ref: string): Promise<object> {
  const { engine } = request.backends;
  const item = await localNetwork(engine, ref);
  if (!item) throw notFound(`network ${ref} not found`);
  const local = await engine.networkContainers(item.networkId);
  const containers = containersJson(item.networkId, local, [], undefined);
  return { ...localNetworkJson(item), Containers: Object.keys(containers).length > 0 ? containers : null };
}

/** By id, name or prefix of an id, in this order. */
async function localNetwork(engine: EngineBackend, ref: string): Promise<NetworkItem | undefined> {
  const all = (await engine.networks?.()) ?? [];
  const exact = all.find(({ networkId }) => networkId === ref) ?? all.find(({ name }) => name === ref);
  if (exact) return exact;
  const matches = all.filter(({ networkId }) => networkId.startsWith(ref));
  if (matches.length > 1)
    throw invalid(`network ${ref} is ambiguous (${matches.length} matches found based on ID prefix)`);
  return matches[0];
}

async function create(request: ApiRequest): Promise<Answer> {
  const { Scope, ConfigOnly, ...body } = await request.json(networkRequest);
  if (body.Driver !== 'overlay')
    throw refused(
      `skein has overlay networks only; create it with --driver overlay (got "${body.Driver || 'bridge'}")`,
    );
  if (Scope !== '' && Scope !== 'swarm')
    throw invalid(`invalid scope "${Scope}": an overlay network is of scope swarm`);
  if (ConfigOnly) throw refused('skein does not serve config-only networks');
  const id = await request.cluster().createNetwork(networkSpec.parse(body));
  return json({ Id: id, Warning: '' }, 201);
}

async function remove(request: ApiRequest): Promise<Answer> {
  await request.cluster().removeNetwork(request.param('id'));
  return empty(204);
}

/** As in Docker: on a manager those that nothing uses, the ingress network never; elsewhere none. */
async function prune(request: ApiRequest): Promise<Answer> {
  const { backends, clock } = request;
  const accepted = pruneFilter(parseFilters(request.text('filters'), PRUNE_FILTERS), clock.now());
  const cluster = backends.cluster();
  const gone: string[] = [];
  for (const { id, spec, createdAt } of [...(cluster?.view.all('network').values() ?? [])]) {
    if (spec.Ingress || !accepted(spec.Labels, Date.parse(createdAt))) continue;
    try {
      await cluster!.removeNetwork(id);
    } catch (error) {
      if (isCode(error, 'not-found', 'failed-precondition')) continue; // in use
      throw error;
    }
    gone.push(spec.Name);
  }
  backends.events.tell(pruneEvent('network', 0));
  return json({ NetworksDeleted: gone.length > 0 ? gone : null });
}

/** The network's name, as far as it can be known here: a worker knows those that its containers stand on. */
async function targetOf(request: ApiRequest): Promise<string> {
  const ref = request.param('id');
  const cluster = request.backends.cluster();
  if (cluster) return cluster.network(ref).spec.Name;
  return (await localNetwork(request.backends.engine, ref))?.name ?? ref;
}

async function connect(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { Container, EndpointConfig } = await request.json(connectBody);
  const container = await engine.container(Container);
  await engine.control.connect(container, wantedStand(await targetOf(request), EndpointConfig));
  return empty();
}

async function disconnect(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { Container, Force } = await request.json(disconnectBody);
  const container = await engine.container(Container);
  await engine.control.disconnect(container, await targetOf(request), Force ?? false);
  return empty();
}

export const networkRoutes: readonly Route[] = [
  { method: 'GET', path: '/networks', handler: list },
  { method: 'POST', path: '/networks/create', handler: create, note: 'Overlay networks only.' },
  {
    method: 'POST',
    path: '/networks/prune',
    handler: prune,
    note: 'On a manager: networks that nothing uses.',
  },
  { method: 'GET', path: '/networks/{id}', handler: inspect },
  { method: 'DELETE', path: '/networks/{id}', handler: remove },
  {
    method: 'POST',
    path: '/networks/{id}/connect',
    handler: connect,
    note: 'Containers of a user’s own, on attachable networks; with aliases and an IPv4 address.',
  },
  { method: 'POST', path: '/networks/{id}/disconnect', handler: disconnect },
];
