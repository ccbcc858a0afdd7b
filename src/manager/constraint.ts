/**
 * Placement constraints as users write them (`node.labels.zone == a`), parsed once and matched against nodes.
 * Called by control (validation), the scheduler and the orchestrator of global services.
 */
import { contains, isIpv4, parseCidr } from '../kit/cidr.ts';
import { SkeinError } from '../model/errors.ts';
import type { Node } from '../model/objects.ts';

export interface Constraint {
  readonly key: string;
  readonly equal: boolean;
  readonly value: string;
}

const KEY = /^[a-z_]{1}[a-z0-9\-_.]+$/i;
const VALUE = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i;

export function parseConstraint(text: string): Constraint {
  const operator = ['==', '!='].find((op) => text.includes(op));
  if (!operator) throw new SkeinError('invalid-argument', `constraint expected one operator from ==, !=`);
  const at = text.indexOf(operator);
  const key = text.slice(0, at).trim();
  const value = text.slice(at + operator.length).trim();
  if (!KEY.test(key)) throw new SkeinError('invalid-argument', `key '${key}' is invalid`);
  if (value === '' || !VALUE.test(value))
    throw new SkeinError('invalid-argument', `value '${value}' is invalid`);
  if (key.toLowerCase() === 'node.ip' && !isIpv4(value)) parseCidr(value);
  return { key, equal: operator === '==', value };
}

const PLATFORM_ALIASES: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
export const architecture = (name: string): string =>
  PLATFORM_ALIASES[name.toLowerCase()] ?? name.toLowerCase();

/** What the node has under the key; undefined when there is no such key. Key names do not care for case. */
export function nodeValue(node: Node, key: string): string | undefined {
  const lower = key.toLowerCase();
  if (lower.startsWith('node.labels.')) return node.spec.Labels?.[key.slice('node.labels.'.length)] ?? '';
  if (lower.startsWith('engine.labels.'))
    return node.description?.engine.labels[key.slice('engine.labels.'.length)] ?? '';
  switch (lower) {
    case 'node.id':
      return node.id;
    case 'node.hostname':
      return node.description?.hostname ?? '';
    case 'node.ip':
      return node.status.addr;
    case 'node.role':
      return node.spec.Role;
    case 'node.platform.os':
      return node.description?.platform.os ?? '';
    case 'node.platform.arch':
      return node.description?.platform.architecture ?? '';
    default:
      return undefined;
  }
}

export function matches(node: Node, constraint: Constraint): boolean {
  const value = nodeValue(node, constraint.key);
  if (value === undefined) return false;
  return isValue(constraint.key.toLowerCase(), value, constraint.value) === constraint.equal;
}

/** Architectures have two names each; an address may be asked for by its network. */
function isValue(key: string, has: string, wanted: string): boolean {
  if (key === 'node.platform.arch') return architecture(has) === architecture(wanted);
  if (key === 'node.ip' && wanted.includes('/')) return isIpv4(has) && contains(parseCidr(wanted), has);
  return has.toLowerCase() === wanted.toLowerCase();
}

export const satisfies = (node: Node, constraints: readonly Constraint[]): boolean =>
  constraints.every((constraint) => matches(node, constraint));

/** A constraint that cannot be read (stored by another version) matches nothing. */
export function parseConstraints(texts: readonly string[] | undefined): readonly Constraint[] {
  return (texts ?? []).map((text) => {
    try {
      return parseConstraint(text);
    } catch {
      return { key: '', equal: true, value: '' };
    }
  });
}
