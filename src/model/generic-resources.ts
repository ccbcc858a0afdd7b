/**
 * Resources that the owner of a node names: a count (`SSD=3`), or things with names of their own (`GPU=UUID1`,
 * `GPU=UUID2`). Written in settings, counted by the scheduler, told to containers in their environment, as in Docker.
 */
import { SkeinError } from './errors.ts';
import type { GenericResource } from './spec.ts';

export const kindOf = (resource: GenericResource): string =>
  resource.NamedResourceSpec?.Kind ?? resource.DiscreteResourceSpec?.Kind ?? '';

export const named = (Kind: string, Value: string): GenericResource => ({
  NamedResourceSpec: { Kind, Value },
});
export const discrete = (Kind: string, Value: number): GenericResource => ({
  DiscreteResourceSpec: { Kind, Value },
});

/** `KIND=VALUE` each; whole numbers are counts, all else names. One kind is one or the other. */
export function parseGenericResources(terms: readonly string[]): GenericResource[] {
  const byKind = Map.groupBy(terms.map(parseTerm), kindOf);
  for (const [kind, resources] of byKind) {
    const counts = resources.filter((resource) => resource.DiscreteResourceSpec);
    if (counts.length > 0 && resources.length > 1)
      throw bad(`${kind} is given more than once: it must be one number, or names alone`);
    const names = new Set(resources.map((resource) => resource.NamedResourceSpec?.Value));
    if (names.size < resources.length) throw bad(`${kind} has one name twice`);
  }
  return [...byKind.values()].flat();
}

function parseTerm(term: string): GenericResource {
  const at = term.indexOf('=');
  const kind = term.slice(0, Math.max(at, 0)).trim();
  const value = term.slice(at + 1).trim();
  if (kind === '' || value === '') throw bad(`incorrect term ${term}, missing '=' or malformed expression`);
  if (!/^[+-]?\d+$/.test(value)) return named(kind, value);
  const count = Number(value);
  if (count < 0 || !Number.isSafeInteger(count)) throw bad(`cannot have ${value} of resource ${kind}`);
  return discrete(kind, count);
}

const bad = (why: string): SkeinError =>
  new SkeinError('invalid-argument', `could not parse GenericResource: ${why}`);

/** `DOCKER_RESOURCE_GPU=UUID1,UUID2`: what a task was given. */
export function resourceEnv(given: readonly GenericResource[]): string[] {
  const valueOf = (r: GenericResource) => r.NamedResourceSpec?.Value ?? r.DiscreteResourceSpec?.Value;
  return [...Map.groupBy(given, kindOf)].map(
    ([kind, of]) => `DOCKER_RESOURCE_${kind.toUpperCase()}=${of.map(valueOf).join(',')}`,
  );
}
