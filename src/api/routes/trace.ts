/** Skein's own: what `skein trace` asks. One JSON value a line, see rpc/trace-messages.ts; the last is of type `end`. */
import { z } from 'zod';
import { type TraceEvent, TRACE_LIMITS } from '../../rpc/trace-messages.ts';
import type { Answer } from '../answer.ts';
import { invalid } from '../http-error.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';

const body = z.object({
  Service: z.string(),
  Clients: z.array(z.string()).max(100).default([]),
  Packets: z.number().int().positive().max(TRACE_LIMITS.packets).default(20_000),
  Seconds: z
    .number()
    .positive()
    .max(TRACE_LIMITS.ms / 1000)
    .default(30),
});

const address = z.union([z.ipv4(), z.cidrv4()]);

async function trace(request: ApiRequest): Promise<Answer> {
  const { Service, Clients, Packets, Seconds } = await request.json(body);
  const cluster = request.cluster();
  const wrong = Clients.find((client) => !address.safeParse(client).success);
  if (wrong !== undefined) throw invalid(`invalid client "${wrong}": an IPv4 address or CIDR is needed`);
  const query = {
    service: cluster.service(Service).id,
    clients: Clients,
    maxPackets: Packets,
    maxMs: Math.ceil(Seconds * 1000),
  };
  return {
    kind: 'stream',
    contentType: 'application/x-ndjson',
    chunks: lines(cluster.trace(query, request.signal)),
    eager: true,
    failure: (why) => line({ type: 'end', why }),
  };
}

const line = (event: TraceEvent): Uint8Array => Buffer.from(`${JSON.stringify(event)}\n`);

async function* lines(events: AsyncIterable<TraceEvent>): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const event of events) yield line(event);
}

export const traceRoutes: readonly Route[] = [
  {
    method: 'POST',
    path: '/skein/trace',
    handler: trace,
    note: 'Skein’s own, for `skein trace`: packets of a service’s connections from all nodes, as lines of JSON.',
  },
];
