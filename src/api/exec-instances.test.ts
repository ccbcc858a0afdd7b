import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ExecProcess } from '../containerd/process.ts';
import type { ContainerInfo } from '../containerd/runtime.ts';
import { ExecInstances, type ExecRequest } from './exec-instances.ts';

test('the exit code of one that ran for long is known when it ends, and the oldest of the others are forgotten', async () => {
  let end = (_code: number): void => {};
  const exit = new Promise<number>((resolve) => (end = resolve));
  const process = { pid: 7, exit } as ExecProcess;
  let made = 0;
  const execs = new ExecInstances(
    { exec: async () => process },
    () => String(made++),
    () => {},
  );
  const container = { id: 'c', name: 'c', image: 'i', labels: {} } as unknown as ContainerInfo;
  const create = () => execs.create(container, { args: ['sh'] } as unknown as ExecRequest, undefined);
  const long = create();
  await execs.start(long, { detach: true });
  for (let i = 0; i < 1500; i++) create();
  end(3);
  await exit;
  create(); // somebody else's, before the exit code is asked for
  assert.equal(execs.get(long).exitCode, 3);
  assert.throws(() => execs.get('1'), { code: 'not-found' });
});
