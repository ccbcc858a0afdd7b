/** Which changes of a service's spec replace its tasks, and which leave them as they are. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerSpec, ServiceSpec, TaskSpec } from '../../model/spec.ts';
import { spec } from '../testing/builders.ts';
import { TestCluster } from '../testing/cluster.ts';

const container = (patch: Partial<ContainerSpec>): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1', ...patch } },
});
const template = (patch: Partial<TaskSpec>): Partial<ServiceSpec> => ({
  TaskTemplate: { ContainerSpec: { Image: 'web:1' }, ...patch },
});
const portOf = (TargetPort: number, PublishMode: 'ingress' | 'host') =>
  ({ Protocol: 'tcp', TargetPort, PublishedPort: TargetPort, PublishMode }) as const;
const published = (...ports: ReturnType<typeof portOf>[]): Partial<ServiceSpec> => ({
  EndpointSpec: { Ports: ports },
});
const mesh = published(portOf(80, 'ingress'));

/** What is changed, from what to what, and whether the tasks must be others then. */
const CHANGES: [string, from: Partial<ServiceSpec>, to: Partial<ServiceSpec>, replaces: boolean][] = [
  ['labels', {}, { Labels: { a: 'b' } }, false],
  ['replicas', {}, { Mode: { Replicated: { Replicas: 3 } } }, false],
  ['how updates go', {}, { UpdateConfig: { Parallelism: 3 }, RollbackConfig: { Parallelism: 2 } }, false],
  ['another port of the mesh', mesh, published(portOf(80, 'ingress'), portOf(81, 'ingress')), false],
  ['the first port of the mesh', {}, mesh, true],
  ['the last port of the mesh', mesh, {}, true],
  ['a port of its host', mesh, published(portOf(80, 'ingress'), portOf(81, 'host')), true],
  ['a network', {}, template({ Networks: [{ Target: 'net' }] }), true],
  [
    'an alias',
    template({ Networks: [{ Target: 'net' }] }),
    template({ Networks: [{ Target: 'net', Aliases: ['a'] }] }),
    true,
  ],
  ['the image', {}, container({ Image: 'web:2' }), true],
  ['a label of the container', {}, container({ Labels: { a: 'b' } }), true],
  ['a limit', {}, template({ Resources: { Limits: { Pids: 9 } } }), true],
  ['how tasks are restarted', {}, template({ RestartPolicy: { MaxAttempts: 9 } }), true],
  ['where its output goes', {}, template({ LogDriver: { Name: 'none' } }), true],
];

for (const [what, from, to, replaces] of CHANGES)
  test(`a change of ${what} replaces ${replaces ? 'every task' : 'no task'}`, async (t) => {
    const c = await new TestCluster().start('n1', 'n2');
    t.after(() => c.stop());
    await c.control.createNetwork({ Name: 'net', Driver: 'overlay' });
    await c.create(
      spec({ Mode: { Replicated: { Replicas: 2 } }, UpdateConfig: { Parallelism: 0 }, ...from }),
    );
    await c.run(2000);
    const before = c.running('web').map((task) => task.id);
    assert.equal(before.length, 2);
    await c.update('web', ({ Name, Mode, UpdateConfig }) =>
      spec({ Name, Mode, UpdateConfig: UpdateConfig!, ...to }),
    );
    await c.run(3000);
    const after = c.running('web').map((task) => task.id);
    const stayed = before.filter((id) => after.includes(id));
    assert.deepEqual(stayed, replaces ? [] : before);
    assert.equal(c.control.service('web').updateStatus !== undefined, replaces);
  });
