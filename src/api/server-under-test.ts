/** For tests: an API server over fakes, asked in process. */
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { VirtualClock } from '../kit/clock.ts';
import { silentLog } from '../kit/log.ts';
import { FakeBackends } from './fake-backends.ts';
import { type ApiServer, createApiServer } from './server.ts';

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- answers are looked into, never trusted
export type Json = any;

/** A service as a client asks for it. */
export const WEB = {
  Name: 'web',
  TaskTemplate: { ContainerSpec: { Image: 'nginx:latest', Init: false } },
  Mode: { Replicated: { Replicas: 3 } },
  EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 80 }] },
};

/** For a file of tests: starts servers, each of which is closed when the last test has ended. */
export function startingServers(): typeof serverUnderTest {
  const servers: ApiServer[] = [];
  after(async () => {
    for (const server of servers) await server.close();
  });
  return async (membership) => {
    const started = await serverUnderTest(membership);
    servers.push(started.server);
    return started;
  };
}

export async function serverUnderTest(membership: FakeBackends['membership'] = 'inactive') {
  const clock = new VirtualClock();
  const backends = new FakeBackends(clock);
  const server = await createApiServer({ backends, log: silentLog, clock, version: '0.1.0' });
  const call = async (method: 'GET' | 'HEAD' | 'POST' | 'DELETE' | 'PUT', url: string, body?: unknown) => {
    const payload = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const response = await server.app.inject({
      method,
      url,
      ...(payload !== undefined && { payload, headers: { 'content-type': 'application/json' } }),
    });
    return {
      status: response.statusCode,
      headers: response.headers,
      raw: response.rawPayload,
      text: response.body,
      json: parse(response.body),
    };
  };
  if (membership === 'manager') {
    const { status } = await call('POST', '/swarm/init', { ListenAddr: '0.0.0.0:2377' });
    assert.equal(status, 200);
  } else backends.membership = membership;
  return { server, backends, call, clock };
}

function parse(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
