/**
 * Every call between nodes: its name, who may make it, and what its messages look like. What an agent says is checked
 * member by member; what a verified manager says is checked in its outer form and trusted inside.
 */
import { z } from 'zod';
import type { ContainerId, Ipv4, Mac, NodeId, ServiceId, TaskId } from '../model/ids.ts';
import type { NodeDescription, TaskStatus } from '../model/objects.ts';
import type { Availability, GenericResource, NodeRole, PortSpec } from '../model/spec.ts';
import type { WantedStand } from '../model/standalone.ts';
import { TASK_STATES } from '../model/task-state.ts';
import { walkAnswer, walkStarts } from './explain.ts';
import type {
  Item,
  LogRecord,
  LogRequest,
  LogsAsked,
  ManagerAddress,
  ToAgent,
  ToManager,
} from './messages.ts';
import { traceBatch, traceEvent, traceQuery, traceRequest } from './trace-messages.ts';

/** `member`: a verified certificate of this cluster whose node still belongs to it. `manager`: its role too. */
export type Caller = 'anyone' | 'member' | 'manager';

export type Answers = 'one' | 'many';

export interface Method<Params, In, Out, A extends Answers = Answers> {
  readonly who: Caller;
  /** `one`: a single answer. `many`: a stream of them. Either may be given a stream of `In`. */
  readonly answers: A;
  /** Deadline of the call in ms; undefined: it lasts as long as its streams. */
  readonly timeoutMs: number | undefined;
  readonly params: z.ZodType<Params>;
  readonly input: z.ZodType<In>;
  readonly output: z.ZodType<Out>;
}

const id = <T extends string>() => z.string().min(1).max(128) as unknown as z.ZodType<T>;
const text = z.string().max(64 * 1024);
/** As late as a Date can be (ECMA-262, 21.4.1.1). */
const MAX_TIME_MS = 8.64e15;
const labels = z.record(z.string(), z.string());

const genericResource: z.ZodType<GenericResource> = z.union([
  z.object({ NamedResourceSpec: z.object({ Kind: text, Value: text }) }),
  z.object({ DiscreteResourceSpec: z.object({ Kind: text, Value: z.number().int().nonnegative() }) }),
]);

const description: z.ZodType<NodeDescription> = z.object({
  hostname: z.string().min(1).max(255),
  platform: z.object({ architecture: text, os: text }),
  resources: z.object({
    nanoCpus: z.number().nonnegative(),
    memoryBytes: z.number().nonnegative(),
    generic: z.array(genericResource).max(10_000).optional(),
  }),
  engine: z.object({
    version: text,
    labels,
    plugins: z.array(z.object({ type: text, name: text })),
  }),
  uplinkMac: z.string().regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/) as unknown as z.ZodType<Mac>,
});

const port: z.ZodType<PortSpec> = z.object({
  Name: text.optional(),
  Protocol: z.enum(['tcp', 'udp', 'sctp']),
  TargetPort: z.number().int().min(0).max(65535),
  PublishedPort: z.number().int().min(0).max(65535).optional(),
  PublishMode: z.enum(['ingress', 'host']),
});

const status: z.ZodType<TaskStatus> = z.object({
  timestamp: z.iso.datetime(),
  state: z.enum(TASK_STATES),
  message: text,
  err: text,
  container: z.object({ containerId: id<ContainerId>(), pid: z.number(), exitCode: z.number() }).optional(),
  ports: z.array(port),
  health: z.enum(['none', 'starting', 'healthy', 'unhealthy']),
  notListening: z.array(z.number().int().min(1).max(65535)).max(65535).optional(),
}) as unknown as z.ZodType<TaskStatus>;

const toManager: z.ZodType<ToManager> = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    protocol: z.number().int(),
    description,
    dataPathAddr: z.ipv4() as unknown as z.ZodType<Ipv4>,
  }),
  z.object({
    type: z.literal('status'),
    sentAt: z.number().min(0).max(MAX_TIME_MS).optional(),
    tasks: z.array(z.object({ id: id<TaskId>(), status })).max(10_000),
  }),
  z.object({ type: z.literal('applied'), revision: z.number().int() }),
  z.object({ type: z.literal('heartbeat') }),
]);

const managers = z.array(z.object({ nodeId: id<NodeId>(), addr: z.string() })) as z.ZodType<ManagerAddress[]>;
const items = z.record(
  z.string(),
  z.custom<Item>((v) => typeof v === 'object' && v !== null),
);

const logShape = z.object({
  id: id<string>(),
  tasks: z.array(id<TaskId>()),
  follow: z.boolean(),
  tail: z.number().int().nonnegative().optional(),
  since: z.string().optional(),
  until: z.string().optional(),
  stdout: z.boolean(),
  stderr: z.boolean(),
  after: z.record(z.string(), z.string()).optional(),
});
const logRequest = logShape as unknown as z.ZodType<LogRequest>;
const logsAsked = logShape.extend({ service: id<ServiceId>().optional() }) as unknown as z.ZodType<LogsAsked>;

const logRecord: z.ZodType<LogRecord> = z.object({
  taskId: id<TaskId>(),
  stream: z.enum(['stdout', 'stderr']),
  time: z.string(),
  data: z.string(),
});

const toAgent: z.ZodType<ToAgent> = z.discriminatedUnion('type', [
  z.object({ type: z.literal('welcome'), heartbeatMs: z.number().positive(), managers }),
  z.object({ type: z.literal('snapshot'), revision: z.number().int(), items }),
  z.object({
    type: z.literal('delta'),
    revision: z.number().int(),
    put: items,
    delete: z.array(z.string()),
  }),
  z.object({ type: z.literal('managers'), managers }),
  z.object({ type: z.literal('logs'), request: logRequest }),
  z.object({ type: z.literal('logs-cancel'), id: z.string() }),
  z.object({ type: z.literal('walk'), request: z.object({ id: z.string(), starts: walkStarts }) }),
  z.object({ type: z.literal('trace'), request: traceRequest }),
  z.object({ type: z.literal('trace-cancel'), id: z.string() }),
]);

export interface IssueRequest {
  /** PEM. */
  readonly csr: string;
  /** Absent: a member renews its own certificate. */
  readonly token?: string | undefined;
  readonly availability?: Availability | undefined;
}

export interface IssueAnswer {
  readonly certificate: string;
  readonly ca: string;
  readonly nodeId: NodeId;
  readonly clusterId: string;
  readonly role: NodeRole;
  readonly managers: readonly ManagerAddress[];
}

export interface ManagerJoinRequest {
  /** `ip:port` of the new manager's control listener. */
  readonly addr: string;
  readonly etcdName: string;
  readonly etcdPeerUrl: string;
}

export interface ManagerJoinAnswer {
  /** `--initial-cluster`: names and peer URLs of all members, the new one included. */
  readonly initialCluster: readonly { readonly name: string; readonly peerUrl: string }[];
  readonly etcdCa: string;
  /** PKCS#8 PEM: a manager issues its own peer certificate. Over this mutually verified connection only. */
  readonly etcdKey: string;
  /** Opens the secrets in the store, where it is not (manager/secrets). */
  readonly secretsKey: string;
}

/** A container that was started by hand on the caller's node wants to stand on an overlay network. */
export interface AttachRequest {
  readonly containerId: ContainerId;
  readonly name: string;
  readonly network: WantedStand;
}

const nothing = z.object({});
const never = z.never();
const QUICK = 10_000;
/** Joins wait for etcd: a member may be refused for some seconds until its peers are healthy. */
const SLOW = 60_000;

const method = <P, I, O, A extends Answers>(m: Method<P, I, O, A>): Method<P, I, O, A> => m;
const unary = <P, O>(who: Caller, params: z.ZodType<P>, output: z.ZodType<O>, timeoutMs = QUICK) =>
  method<P, never, O, 'one'>({ who, answers: 'one', timeoutMs, params, input: never, output });

export const METHODS = {
  'ca.root': unary('anyone', nothing, z.object({ ca: z.string() })),
  'ca.issue': unary<IssueRequest, IssueAnswer>(
    'anyone',
    z.object({
      csr: z.string().max(16 * 1024),
      token: z.string().max(256).optional(),
      availability: z.enum(['active', 'pause', 'drain']).optional(),
    }),
    z.object({
      certificate: z.string(),
      ca: z.string(),
      nodeId: id<NodeId>(),
      clusterId: z.string(),
      role: z.enum(['manager', 'worker']),
      managers,
    }),
  ),
  'manager.join': unary<ManagerJoinRequest, ManagerJoinAnswer>(
    'manager',
    z.object({ addr: z.string(), etcdName: z.string(), etcdPeerUrl: z.string() }),
    z.object({
      initialCluster: z.array(z.object({ name: z.string(), peerUrl: z.string() })),
      etcdCa: z.string(),
      etcdKey: z.string(),
      secretsKey: z.string(),
    }),
    SLOW,
  ),
  'network.attach': unary<AttachRequest, { readonly taskId: TaskId }>(
    'member',
    z.object({
      containerId: id<ContainerId>(),
      name: id<string>(),
      network: z.object({
        target: id<string>(),
        aliases: z.array(id<string>()).max(100),
        address: id<Ipv4>().optional(),
      }),
    }),
    z.object({ taskId: id<TaskId>() }),
    SLOW,
  ),
  'network.detach': unary('member', z.object({ taskId: id<TaskId>() }), nothing),
  'node.leave': unary('member', nothing, nothing),
  'cluster.managers': unary('member', nothing, z.object({ managers })),
  'dispatcher.session': method({
    who: 'member',
    answers: 'many',
    timeoutMs: undefined,
    params: nothing,
    input: toManager,
    output: toAgent,
  }),
  'logs.publish': method({
    who: 'member',
    answers: 'one',
    timeoutMs: undefined,
    params: z.object({ id: z.string() }),
    input: logRecord,
    output: nothing,
  }),
  'logs.read': method<LogsAsked, never, LogRecord, 'many'>({
    who: 'manager',
    answers: 'many',
    timeoutMs: undefined,
    params: logsAsked,
    input: never,
    output: logRecord,
  }),
  'explain.answer': unary(
    'member',
    z.object({ id: z.string(), legs: walkAnswer.optional(), error: text.optional() }),
    nothing,
  ),
  'explain.ask': unary('manager', z.object({ nodeId: id<NodeId>(), starts: walkStarts }), walkAnswer),
  /** The leader's clock, for the times of a trace. */
  'trace.clock': unary('member', nothing, z.object({ time: z.string().regex(/^\d+$/), boot: z.string() })),
  'trace.publish': method({
    who: 'member',
    answers: 'one',
    timeoutMs: undefined,
    params: z.object({ id: z.string() }),
    input: traceBatch,
    output: nothing,
  }),
  'trace.read': method({
    who: 'manager',
    answers: 'many',
    timeoutMs: undefined,
    params: traceQuery,
    input: never,
    output: traceEvent,
  }),
} as const;

export type MethodName = keyof typeof METHODS;
export type ParamsOf<N extends MethodName> = z.infer<(typeof METHODS)[N]['params']>;
export type InputOf<N extends MethodName> = z.infer<(typeof METHODS)[N]['input']>;
export type OutputOf<N extends MethodName> = z.infer<(typeof METHODS)[N]['output']>;
export type OneName = {
  [N in MethodName]: (typeof METHODS)[N]['answers'] extends 'one' ? N : never;
}[MethodName];
