import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service, Task } from '../../model/objects.ts';
import type { ServiceSpec } from '../../model/spec.ts';
import { serviceJson } from './service.ts';
import { taskJson } from './task.ts';

const spec = (Mode: ServiceSpec['Mode']): ServiceSpec => ({
  ...{ Name: 'web', Labels: {}, Mode },
  TaskTemplate: { ContainerSpec: { Image: 'web:1' } },
});
const service = (patch: Partial<Service>): Service =>
  ({
    ...{ id: 'svc', version: 7, createRevision: 3, createdAt: 'c', updatedAt: 'u', specVersion: 1 },
    ...{ spec: spec({ Replicated: { Replicas: 1 } }), ...patch },
  }) as Service;
const shown = (patch: Partial<Service>, options = {}) =>
  serviceJson(service(patch), options) as Record<string, unknown>;

test('how an update stands is shown as the CLI reads it, and where there is none nothing', () => {
  assert.equal('UpdateStatus' in shown({}), false);
  const going = { state: 'updating', startedAt: 's', message: 'update in progress' } as const;
  assert.deepEqual(shown({ updateStatus: going })['UpdateStatus'], {
    ...{ State: 'updating', StartedAt: 's', Message: 'update in progress' },
  });
  const over = { state: 'rollback_completed', startedAt: 's', completedAt: 'e', message: 'm' } as const;
  assert.deepEqual(shown({ updateStatus: over })['UpdateStatus'], {
    ...{ State: 'rollback_completed', StartedAt: 's', CompletedAt: 'e', Message: 'm' },
  });
});

test('the spec before is shown, and the execution of a job', () => {
  const previousSpec = spec({ Replicated: { Replicas: 2 } });
  assert.deepEqual(shown({ previousSpec })['PreviousSpec'], previousSpec);
  assert.equal('PreviousSpec' in shown({}), false);
  const jobStatus = { jobIteration: 3, lastExecution: 'x' };
  assert.deepEqual(shown({ jobStatus })['JobStatus'], { JobIteration: { Index: 3 }, LastExecution: 'x' });
  assert.equal('JobStatus' in shown({}), false);
});

test('the defaults of a job: no any, and nothing of updates', () => {
  const defaults = (Mode: ServiceSpec['Mode']) =>
    shown({ spec: spec(Mode) }, { insertDefaults: true })['Spec'] as ServiceSpec;
  for (const Mode of [{ ReplicatedJob: {} }, { GlobalJob: {} }]) {
    const job = defaults(Mode);
    assert.equal(job.TaskTemplate.RestartPolicy?.Condition, 'on-failure');
    assert.deepEqual([job.UpdateConfig, job.RollbackConfig], [undefined, undefined]);
  }
  const other = defaults({ Global: {} });
  assert.equal(other.TaskTemplate.RestartPolicy?.Condition, 'any');
  const config = {
    Parallelism: 1,
    FailureAction: 'pause',
    Monitor: 5e9,
    MaxFailureRatio: 0,
    Order: 'stop-first',
  };
  assert.deepEqual([other.UpdateConfig, other.RollbackConfig], [config, config]);
});

test('the slots of a job begin at 0, and its tasks name their execution', () => {
  const of = (patch: Partial<Task>) =>
    taskJson(
      { ...{ id: 't', spec: {}, attachments: [], status: { ports: [] } }, ...patch } as unknown as Task,
      () => undefined,
    ) as Record<string, unknown>;
  assert.deepEqual([of({ slot: 1 })['Slot'], of({ slot: 0 })['Slot']], [1, undefined]);
  const [first, second] = [of({ slot: 1, jobIteration: 3 }), of({ slot: 2, jobIteration: 3 })];
  assert.deepEqual([first['Slot'], second['Slot']], [undefined, 1]);
  assert.deepEqual(first['JobIteration'], { Index: 3 });
  assert.equal('JobIteration' in of({ slot: 1 }), false);
});
