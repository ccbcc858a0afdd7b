/** Which of a node's generic resources a task gets, given what others have of them. */
import { discrete, kindOf, named } from '../../model/generic-resources.ts';
import type { GenericResource } from '../../model/spec.ts';

/** How much is taken, by kind for counts and by kind and name for named ones. */
export type Taken = ReadonlyMap<string, number>;

export function takenOf(given: readonly GenericResource[]): [key: string, amount: number][] {
  return given.map(({ NamedResourceSpec: name, DiscreteResourceSpec: count }) =>
    name ? [nameKey(name), 1] : [count!.Kind, count!.Value],
  );
}

const nameKey = ({ Kind, Value }: { Kind: string; Value: string }): string => `${Kind}=${Value}`;

/** Undefined: the node has not enough left. Requests are counts; named resources go out in the node's order. */
export function claim(
  has: readonly GenericResource[],
  taken: Taken,
  wanted: readonly GenericResource[],
): GenericResource[] | undefined {
  const totals = new Map<string, number>();
  for (const { DiscreteResourceSpec: request } of wanted)
    if (request) totals.set(request.Kind, (totals.get(request.Kind) ?? 0) + request.Value);
  const given: GenericResource[] = [];
  for (const [kind, amount] of totals) {
    const found = claimKind(
      has.filter((resource) => kindOf(resource) === kind),
      taken,
      kind,
      amount,
    );
    if (!found) return undefined;
    given.push(...found);
  }
  return given;
}

function claimKind(
  has: readonly GenericResource[],
  taken: Taken,
  kind: string,
  amount: number,
): GenericResource[] | undefined {
  const total = has[0]?.DiscreteResourceSpec?.Value;
  if (total !== undefined)
    return amount <= total - (taken.get(kind) ?? 0) ? [discrete(kind, amount)] : undefined;
  const free = has.flatMap(({ NamedResourceSpec: name }) =>
    name && !taken.has(nameKey(name)) ? [named(name.Kind, name.Value)] : [],
  );
  return amount <= free.length ? free.slice(0, amount) : undefined;
}
