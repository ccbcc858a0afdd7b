import { type Answer, empty, json } from '../answer.ts';
import type { ClusterBackend } from '../backend.ts';
import { nodeJson } from '../convert/node.ts';
import { type Filters, parseFilters } from '../filters.ts';
import type { Node } from '../../model/objects.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { nodeSpec } from '../schemas/cluster.ts';

export const byId = <T extends { readonly id: string }>(a: T, b: T): number => (a.id < b.id ? -1 : 1);

const shown = (node: Node, cluster: ClusterBackend): object =>
  nodeJson(node, cluster.leader(), cluster.view.cluster?.ca);

function accepts(filters: Filters, node: Node): boolean {
  return (
    filters.any('id', (id) => node.id.startsWith(id)) &&
    filters.any('name', (name) => (node.description?.hostname ?? '').startsWith(name)) &&
    filters.any('role', (role) => node.spec.Role === role) &&
    filters.any('membership', (m) => m === 'accepted') &&
    filters.labels('label', node.description?.engine.labels) &&
    filters.labels('node.label', node.spec.Labels)
  );
}

const FILTERS = ['id', 'label', 'membership', 'name', 'role', 'node.label'];
const WORDS = { role: ['manager', 'worker'], membership: ['accepted', 'pending'] };

function list(request: ApiRequest): Answer {
  const cluster = request.cluster();
  const filters = parseFilters(request.text('filters'), FILTERS, WORDS);
  const nodes = [...cluster.view.all('node').values()].filter((node) => accepts(filters, node)).sort(byId);
  return json(nodes.map((node) => shown(node, cluster)));
}

function inspect(request: ApiRequest): Answer {
  const cluster = request.cluster();
  return json(shown(cluster.node(request.param('id')), cluster));
}

async function update(request: ApiRequest): Promise<Answer> {
  const cluster = request.cluster();
  const version = request.objectVersion('node');
  await cluster.updateNode(request.param('id'), version, await request.json(nodeSpec));
  return empty();
}

async function remove(request: ApiRequest): Promise<Answer> {
  await request.cluster().removeNode(request.param('id'), request.flag('force'));
  return empty();
}

export const nodeRoutes: readonly Route[] = [
  { method: 'GET', path: '/nodes', handler: list },
  { method: 'GET', path: '/nodes/{id}', handler: inspect },
  { method: 'POST', path: '/nodes/{id}/update', handler: update },
  { method: 'DELETE', path: '/nodes/{id}', handler: remove },
];
