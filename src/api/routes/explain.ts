/** What Docker's API does not have: `skein explain`, under a path of Skein's own. */
import { type Answer, json } from '../answer.ts';
import { invalid } from '../http-error.ts';
import type { Protocol } from '../../model/spec.ts';
import { OPENING_SIZE } from '../../rpc/explain.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';

const CLIENT_PORT = 50_000;

function number(request: ApiRequest, name: string, least: number, otherwise: number): number {
  const text = request.text(name);
  if (text === '') return otherwise;
  const value = Number(text);
  if (!/^\d{1,5}$/.test(text) || value < least || value > 65_535)
    throw invalid(`invalid ${name} '${text}': not a number from ${least} to 65535`);
  return value;
}

async function explain(request: ApiRequest): Promise<Answer> {
  request.cluster(); // Docker's words on a node that is no manager
  const [client, target] = [request.text('client'), request.text('target')];
  if (client === '' || target === '') throw invalid('client and target must be given');
  const protocol = request.text('protocol') || 'tcp';
  if (!['tcp', 'udp', 'sctp'].includes(protocol)) throw invalid(`invalid protocol '${protocol}'`);
  const question = {
    ...{ client, target, protocol: protocol as Protocol },
    backend: request.text('backend') || undefined,
    clientPort: number(request, 'client-port', 1, CLIENT_PORT),
    size: number(request, 'size', 28, OPENING_SIZE),
  };
  return json(await request.backends.explain(question, request.signal));
}

export const explainRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/skein/explain',
    handler: explain,
    note: "Skein's own, on managers: the way of a connection without traffic (`client`, `target`, `protocol`, `client-port`, `backend`, `size`).",
  },
];
