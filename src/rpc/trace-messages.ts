/**
 * What managers, agents and the API say to each other for `skein trace`: the leader asks nodes to capture over their
 * sessions, each answers by a `trace.publish` call with the same id, as with logs. Times are nanoseconds since the
 * epoch by the leader's clock, as text: a number of JSON does not hold them.
 */
import { z } from 'zod';
import type { ServiceId } from '../model/ids.ts';

export interface TraceFilter {
  /** Addresses (or subnets) of containers: packets from or to them, on whatever interface. */
  readonly hosts: readonly string[];
  /** Packets from or to these ports, where `clients` are given only of those. */
  readonly ports: readonly number[];
  readonly clients: readonly string[];
}

export interface TraceRequest {
  readonly id: string;
  readonly filter: TraceFilter;
  readonly vxlanPort: number;
  readonly maxPackets: number;
  readonly maxMs: number;
}

export interface TraceFrame {
  /** `eth0`, and `fabric/vx-4096` of the namespace that holds the bridges. */
  readonly link: string;
  readonly direction: 'in' | 'out' | 'other';
  readonly time: string;
  /** On the wire. */
  readonly length: number;
  /** Base64 of its beginning. */
  readonly bytes: string;
}

const tuple = z.object({
  protocol: z.enum(['tcp', 'udp']),
  source: z.ipv4(),
  sourcePort: z.number().int(),
  destination: z.ipv4(),
  destinationPort: z.number().int(),
});

/** What one node captured since its last batch. The first comes at once and says that it captures. */
export interface TraceBatch {
  readonly frames: readonly TraceFrame[];
  readonly translations: readonly {
    readonly before: z.infer<typeof tuple>;
    readonly after: z.infer<typeof tuple>;
  }[];
  /** How far its clock may be off the leader's, in nanoseconds. */
  readonly uncertainty: number;
  /** Why it captures no more; the last batch. */
  readonly ended?: string | undefined;
}

/** The part of the cluster that a trace is about. */
export interface TraceScene {
  readonly service: string;
  readonly entrances: readonly {
    readonly address: string;
    readonly port: number;
    readonly protocol: 'tcp' | 'udp';
  }[];
  /** Addresses of the service's containers. */
  readonly backends: readonly string[];
  readonly vxlanPort: number;
  /** What people call an address, or a MAC. */
  readonly names: {
    readonly addresses: Readonly<Record<string, string>>;
    readonly macs: Readonly<Record<string, string>>;
  };
}

export type TraceEvent =
  /** First, and again when the cluster has changed. */
  | { readonly type: 'scene'; readonly scene: TraceScene }
  /** `why` is given where the node does not capture, or does so no more. */
  | { readonly type: 'node'; readonly node: string; readonly why?: string | undefined }
  | { readonly type: 'packets'; readonly node: string; readonly batch: TraceBatch }
  /** The last. */
  | { readonly type: 'end'; readonly why: string };

export interface TraceQuery {
  readonly service: ServiceId;
  /** Only connections from these addresses and subnets; none: from anywhere. */
  readonly clients: readonly string[];
  /** Bounds of each node's capture. */
  readonly maxPackets: number;
  readonly maxMs: number;
}

/** Nobody captures more than this at once, whatever is asked. */
export const TRACE_LIMITS = { packets: 100_000, ms: 3_600_000 } as const;

const bounds = {
  maxPackets: z.number().int().positive().max(TRACE_LIMITS.packets),
  maxMs: z.number().int().positive().max(TRACE_LIMITS.ms),
};

export const traceRequest: z.ZodType<TraceRequest> = z.object({
  id: z.string(),
  filter: z.object({
    hosts: z.array(z.string()),
    ports: z.array(z.number().int()),
    clients: z.array(z.string()),
  }),
  vxlanPort: z.number().int(),
  ...bounds,
});

export const traceBatch: z.ZodType<TraceBatch> = z.object({
  frames: z
    .array(
      z.object({
        link: z.string().max(64),
        direction: z.enum(['in', 'out', 'other']),
        time: z.string().regex(/^\d{1,20}$/),
        length: z.number().int(),
        bytes: z.base64().max(4096),
      }),
    )
    .max(1000),
  translations: z.array(z.object({ before: tuple, after: tuple })).max(10_000),
  uncertainty: z.number().nonnegative(),
  ended: z.string().max(1000).optional(),
});

export const traceQuery: z.ZodType<TraceQuery> = z.object({
  service: z.string() as unknown as z.ZodType<ServiceId>,
  clients: z.array(z.union([z.ipv4(), z.cidrv4()])).max(100),
  ...bounds,
});

/** From a verified manager: checked in its outer form. */
export const traceEvent = z.custom<TraceEvent>(
  (value) => typeof value === 'object' && value !== null && 'type' in value,
);
