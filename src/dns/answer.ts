/**
 * What a question of a container is answered with: one ordered list of handlers, the first that knows the name wins.
 * Pure but for the order of several addresses, which the caller turns.
 */
import { isIpv4 } from '../kit/cidr.ts';
import type { Ipv4, NetworkId } from '../model/ids.ts';
import { fold, type Names } from './names.ts';
import type { SandboxRecord, ServiceRecord } from './records.ts';

export type Reply =
  | { readonly kind: 'addresses'; readonly addresses: readonly Ipv4[]; readonly ttl: number }
  | { readonly kind: 'name'; readonly name: string; readonly ttl: number }
  /** The name is ours and has nothing of this type: no error, no data (RFC 2308), and nobody else is asked. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'no-such-name' }
  | { readonly kind: 'forward' };

export interface Question {
  readonly name: string;
  readonly type: string;
}

/** Tasks come and go, and are steered away from, within a second; Docker's 600 s keep the dead alive. */
export const TASK_TTL = 1;
/** A virtual IP stays as long as its service. */
export const VIRTUAL_IP_TTL = 10;

/** A handler's word on a name within some networks; undefined: not mine, ask the next. */
type Handler = (name: string, networks: readonly NetworkId[], names: Names) => Reply | undefined;

const tasksOf = (service: ServiceRecord, names: Names): readonly Ipv4[] =>
  [...(names.network(service.networkId).endpointsOf.get(service.id) ?? [])]
    .filter((endpoint) => endpoint.inRotation)
    .map((endpoint) => endpoint.address);

/**
 * On the first of the networks that knows it, as Docker does: a name means one thing to one container. Several when
 * they share an alias: one service takes over from another that way, and both are meant.
 */
function findServices(
  name: string,
  networks: readonly NetworkId[],
  names: Names,
): readonly ServiceRecord[] | undefined {
  for (const id of networks) {
    const found = names.network(id).services.get(name);
    if (found) return [...found];
  }
  return undefined;
}

const firstOf = <T>(set: ReadonlySet<T> | undefined): T | undefined => set?.values().next().value;

const TASKS = 'tasks.';

/** `tasks.web`: every task, whatever the endpoint mode. First, because a service can not be named with a dot. */
const tasks: Handler = (name, networks, names) => {
  if (!name.startsWith(TASKS)) return undefined;
  const found = findServices(name.slice(TASKS.length), networks, names);
  if (!found) return undefined;
  return { kind: 'addresses', addresses: found.flatMap((s) => tasksOf(s, names)), ttl: TASK_TTL };
};

/** `web`, or an alias: the virtual IP, or without one the tasks. Before containers: what users mean by a name. */
const services: Handler = (name, networks, names) => {
  const found = findServices(name, networks, names);
  if (!found) return undefined;
  const addresses = found.flatMap((s) => (s.virtualIp ? [s.virtualIp] : tasksOf(s, names)));
  const ttl = found.every((s) => s.virtualIp) ? VIRTUAL_IP_TTL : TASK_TTL;
  return { kind: 'addresses', addresses, ttl };
};

/** `web.1.x5f0...`, a container's name or id: itself, in rotation or not, so that a person can reach what is ill. */
const containers: Handler = (name, networks, names) => {
  for (const id of networks) {
    const found = names.network(id).containers.get(name);
    if (found) return { kind: 'addresses', addresses: [...found].map((e) => e.address), ttl: TASK_TTL };
  }
  return undefined;
};

const HANDLERS: readonly Handler[] = [tasks, services, containers];

export function answer(question: Question, sandbox: SandboxRecord, names: Names): Reply {
  const name = fold(question.name.replace(/\.$/, ''));
  const reverse = reversedAddress(name);
  const found = reverse ? nameOf(reverse, sandbox, names) : lookUp(name, sandbox, names);
  if (!found) return sandbox.forward ? { kind: 'forward' } : { kind: 'no-such-name' };
  const fits = question.type === 'ANY' || question.type === (found.kind === 'name' ? 'PTR' : 'A');
  const empty = found.kind === 'addresses' && found.addresses.length === 0;
  return fits && !empty ? found : { kind: 'nothing' };
}

function lookUp(name: string, { networks }: SandboxRecord, names: Names): Reply | undefined {
  for (const handler of HANDLERS) {
    const reply = handler(name, networks, names);
    if (reply) return reply;
  }
  // `web.mynet`: the name on that network alone.
  for (const id of networks) {
    const suffix = `.${names.network(id).name}`;
    if (suffix.length === 1 || !name.endsWith(suffix)) continue;
    for (const handler of HANDLERS) {
      const reply = handler(name.slice(0, -suffix.length), [id], names);
      if (reply) return reply;
    }
  }
  return undefined;
}

function nameOf(address: Ipv4, { networks }: SandboxRecord, names: Names): Reply | undefined {
  for (const id of networks) {
    const network = names.network(id);
    const container = firstOf(network.addresses.get(address))?.names[0];
    const name = container ?? firstOf(network.virtualIps.get(address))?.name;
    if (name) return { kind: 'name', name: `${name}.${network.name}`, ttl: TASK_TTL };
  }
  return undefined;
}

const REVERSE = /^((?:\d{1,3}\.){4})in-addr\.arpa$/;

function reversedAddress(name: string): Ipv4 | undefined {
  const labels = REVERSE.exec(name)?.[1];
  const address = labels?.slice(0, -1).split('.').reverse().join('.');
  return address && isIpv4(address) ? address : undefined;
}
