/** Secrets and configs: the same routes twice. The data of a secret goes in and never comes out. */
import { type Answer, empty, json } from '../answer.ts';
import type { PayloadBackend } from '../backend.ts';
import { metaJson } from '../convert/meta.ts';
import { parseFilters } from '../filters.ts';
import type { Config, Secret } from '../../model/objects.ts';
import type { ConfigSpec, SecretSpec } from '../../model/spec.ts';
import type { ApiRequest } from '../request.ts';
import type { Handler, Route } from '../router.ts';
import { payloadSpec } from '../schemas/cluster.ts';
import { byId } from './nodes.ts';

type Kind = 'secret' | 'config';

/** The data of a secret never leaves; that of a config does. */
function shown(kind: Kind, object: Secret | Config): object {
  const { Data, ...spec } = object.spec;
  return { ...metaJson(object.id, object), Spec: kind === 'config' ? { ...spec, Data } : spec };
}

const all = (request: ApiRequest, kind: Kind): (Secret | Config)[] => [
  ...request.cluster().view.all(kind).values(),
];

const list =
  (kind: Kind): Handler =>
  (request): Answer => {
    const filters = parseFilters(request.text('filters'), ['id', 'label', 'name', 'names']);
    return json(
      all(request, kind)
        .filter(
          ({ id, spec }) =>
            filters.any('id', (prefix) => id.startsWith(prefix)) &&
            filters.any('name', (prefix) => spec.Name.startsWith(prefix)) &&
            filters.any('names', (name) => spec.Name === name) &&
            filters.labels('label', spec.Labels),
        )
        .sort(byId)
        .map((object) => shown(kind, object)),
    );
  };

const backend = (
  request: ApiRequest,
  kind: Kind,
): PayloadBackend<SecretSpec & ConfigSpec, Secret | Config> =>
  kind === 'secret' ? request.cluster().secrets : request.cluster().configs;

const inspect =
  (kind: Kind): Handler =>
  (request): Answer =>
    json(shown(kind, backend(request, kind).find(request.param('id'))));

const create =
  (kind: Kind): Handler =>
  async (request): Promise<Answer> =>
    json({ ID: await backend(request, kind).create(await request.json(payloadSpec)) }, 201);

const update =
  (kind: Kind): Handler =>
  async (request): Promise<Answer> => {
    const version = request.objectVersion(kind);
    await backend(request, kind).update(request.param('id'), version, await request.json(payloadSpec));
    return empty();
  };

const remove =
  (kind: Kind): Handler =>
  async (request): Promise<Answer> => {
    await backend(request, kind).remove(request.param('id'));
    return empty(204);
  };

const routes = (kind: Kind): readonly Route[] => [
  { method: 'GET', path: `/${kind}s`, handler: list(kind) },
  { method: 'POST', path: `/${kind}s/create`, handler: create(kind) },
  { method: 'GET', path: `/${kind}s/{id}`, handler: inspect(kind) },
  {
    method: 'POST',
    path: `/${kind}s/{id}/update`,
    handler: update(kind),
    note: 'Labels only, as in Docker.',
  },
  { method: 'DELETE', path: `/${kind}s/{id}`, handler: remove(kind) },
];

export const secretRoutes: readonly Route[] = [...routes('secret'), ...routes('config')];
