import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Service, Task } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { humanDuration } from './duration.ts';
import { isValidReference, parseReference, pullReference } from './reference.ts';
import { canonical } from './service-spec.ts';
import { serviceStatus } from './service.ts';

test('durations as docker ps says them', () => {
  const seconds = [0.5, 1, 26, 60, 125, 3600, 7300, 86_400 * 3, 86_400 * 20, 86_400 * 100, 86_400 * 1000];
  assert.deepEqual(
    seconds.map((s) => humanDuration(s * 1000)),
    [
      ...[
        'Less than a second',
        '1 second',
        '26 seconds',
        'About a minute',
        '2 minutes',
        'About an hour',
        '2 hours',
      ],
      ...['3 days', '2 weeks', '3 months', '2 years'],
    ],
  );
});

test('references: long, short, with port, tag and digest', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  assert.deepEqual(parseReference('docker.io/library/busybox:1'), {
    familiar: 'busybox',
    path: 'library/busybox',
    tag: '1',
    digest: undefined,
  });
  assert.equal(parseReference('registry:5000/a/b').tag, undefined);
  assert.equal(pullReference('docker.io/library/busybox', 'latest').full, 'busybox:latest');
  assert.equal(pullReference('registry:5000/a/b', digest).full, `registry:5000/a/b@${digest}`);
  assert.equal(pullReference(`busybox:1@${digest}`, '').full, `busybox@${digest}`);
  for (const good of ['busybox', 'registry:5000/a/b:x', 'a.b/c__d/e-f', 'localhost/x'])
    assert.equal(isValidReference(parseReference(good)), true, good);
  for (const bad of ['', 'UPPER', 'a//b', 'a:b c', '../x', '-a', 'a@sha256:1', `x${'/y'.repeat(200)}`])
    assert.equal(isValidReference(parseReference(bad)), false, bad);
});

const texts = fc.array(fc.string());
const specs: fc.Arbitrary<ServiceSpec> = fc.record({
  Name: fc.string(),
  TaskTemplate: fc.record({
    ContainerSpec: fc.record(
      {
        Image: fc.string(),
        Env: texts,
        Args: texts,
        Hostname: fc.string(),
        TTY: fc.boolean(),
        ReadOnly: fc.boolean(),
        OomScoreAdj: fc.integer({ min: 0, max: 1 }),
        Mounts: fc.array(
          fc.record({ Type: fc.constant('bind' as const), Target: fc.string(), ReadOnly: fc.boolean() }),
        ),
        DNSConfig: fc.record({ Nameservers: texts }),
      },
      { requiredKeys: ['Image'] },
    ),
    Networks: fc.array(fc.record({ Target: fc.string(), Aliases: texts })),
    Resources: fc.constant({ Limits: { NanoCPUs: 0, MemoryBytes: 5 } }),
  }),
  Mode: fc.constantFrom({}, { Global: {} }, { Replicated: { Replicas: 0 } }),
  EndpointSpec: fc.constantFrom({}, { Ports: [] }, { Mode: 'dnsrr' as const }),
});

test('the kept form of a spec is stable, so an update that changes nothing is none', () => {
  fc.assert(
    fc.property(specs, (spec) => {
      const once = canonical(spec);
      assert.deepEqual(canonical(JSON.parse(JSON.stringify(once)) as ServiceSpec), once);
    }),
  );
});

test('what says nothing is dropped, and what Docker always says is said', () => {
  const given: ServiceSpec = {
    Name: 'a',
    TaskTemplate: {
      ContainerSpec: {
        ...{ Image: 'x', Hostname: '', Env: [], DNSConfig: { Nameservers: [] } },
        ...{ TTY: false, OpenStdin: false, ReadOnly: false, Init: false, OomScoreAdj: 0 },
        Healthcheck: { Test: ['CMD', 'x'], Interval: 0, Retries: 2 },
        Mounts: [{ Type: 'bind', Source: '/s', Target: '/t', ReadOnly: false }],
      },
      Resources: { Limits: { NanoCPUs: 0, MemoryBytes: 5 }, Reservations: { NanoCPUs: 0 } },
      Placement: { MaxReplicas: 0, Constraints: [], Preferences: [] },
    },
    Mode: {},
    UpdateConfig: { Parallelism: 2 },
    EndpointSpec: { Ports: [] },
  };
  assert.deepEqual(canonical(given), {
    Name: 'a',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: {
        ...{ Image: 'x', DNSConfig: {}, Init: false, Isolation: 'default' },
        Healthcheck: { Test: ['CMD', 'x'], Retries: 2 },
        Mounts: [{ Type: 'bind', Source: '/s', Target: '/t' }],
      },
      Resources: { Limits: { MemoryBytes: 5 }, Reservations: {} },
      Placement: {},
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: {} },
    UpdateConfig: { Parallelism: 2, FailureAction: 'pause', MaxFailureRatio: 0, Order: 'stop-first' },
    EndpointSpec: { Mode: 'vip' },
  });
});

test('old clients give networks beside the task template', () => {
  const spec = {
    Name: 'a',
    TaskTemplate: { ContainerSpec: { Image: 'x' } },
    Mode: {},
    Networks: [{ Target: 'n' }],
  };
  const kept = canonical(spec);
  assert.deepEqual(kept.TaskTemplate.Networks, [{ Target: 'n' }]);
  assert.equal('Networks' in kept, false);
  assert.deepEqual(kept.Mode, { Replicated: {} });
});

const service = (Mode: ServiceSpec['Mode'], jobIteration?: number): Service =>
  ({
    spec: { Mode },
    jobStatus: jobIteration === undefined ? undefined : { jobIteration, lastExecution: '' },
  }) as Service;
const task = (state: string, desiredState: string, jobIteration?: number): Task =>
  ({ status: { state }, desiredState, jobIteration }) as Task;

test('counts of service ls', () => {
  const running = task('running', 'running');
  const starting = task('starting', 'running');
  const stopping = task('running', 'shutdown');
  const gone = task('shutdown', 'shutdown');
  const status = (s: Service, ...tasks: Task[]) => Object.values(serviceStatus(s, tasks));
  assert.deepEqual(status(service({ Replicated: { Replicas: 5 } }), running, starting, gone), [1, 5, 0]);
  assert.deepEqual(status(service({ Replicated: {} }), running, stopping), [2, 1, 0]);
  assert.deepEqual(status(service({ Global: {} }), running, starting, gone), [1, 2, 0]);
  const done = task('complete', 'complete', 1);
  assert.deepEqual(
    status(
      service({ ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 2 } }, 1),
      done,
      done,
      task('complete', 'complete', 0),
    ),
    [0, 1, 2],
  );
  const wide = service({ ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 5 } }, 1);
  assert.deepEqual(status(wide, done), [0, 3, 1]);
  const removed = task('running', 'remove');
  assert.deepEqual(status(service({ Replicated: { Replicas: 1 } }), running, removed), [1, 1, 0]);
  assert.deepEqual(status(service({ GlobalJob: {} }, 1), done, task('running', 'complete', 1)), [1, 1, 1]);
});
