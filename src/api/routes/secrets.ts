/** Secrets and configs: lists and lookups are true (there is none yet); making them is refused in words. */
import { type Answer, json } from '../answer.ts';
import { metaJson } from '../convert/meta.ts';
import { parseFilters } from '../filters.ts';
import { notFound } from '../http-error.ts';
import type { Config, Secret } from '../../model/objects.ts';
import type { ApiRequest } from '../request.ts';
import type { Handler, Route } from '../router.ts';
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

const inspect =
  (kind: Kind): Handler =>
  (request): Answer => {
    const ref = request.param('id');
    const found = all(request, kind).find(({ id, spec }) => id === ref || spec.Name === ref);
    if (!found) throw notFound(`${kind} ${ref} not found`);
    return json(shown(kind, found));
  };

const WORDS = 'secrets and configs come with a later version';
const routes = (kind: Kind): readonly Route[] => [
  { method: 'GET', path: `/${kind}s`, handler: list(kind) },
  { method: 'POST', path: `/${kind}s/create`, handler: WORDS },
  { method: 'GET', path: `/${kind}s/{id}`, handler: inspect(kind) },
  { method: 'POST', path: `/${kind}s/{id}/update`, handler: WORDS },
  { method: 'DELETE', path: `/${kind}s/{id}`, handler: WORDS },
];

export const secretRoutes: readonly Route[] = [...routes('secret'), ...routes('config')];
