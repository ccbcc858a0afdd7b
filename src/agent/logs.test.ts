import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerInfo, LogLine, LogQuery } from '../containerd/runtime.ts';
import { SkeinError } from '../model/errors.ts';
import type { TaskId } from '../model/ids.ts';
import { containerIdOf } from '../model/names.ts';
import type { LogRequest } from '../rpc/messages.ts';
import { readLogs } from './logs.ts';

const hash = (text: string): string => text.padEnd(64, '0');
const idOf = (task: string) => containerIdOf(task as TaskId, hash);

/** Containers by task: their lines as `TIME`, or why there are none. */
async function read(
  containers: Readonly<Record<string, readonly string[] | 'none' | 'removed'>>,
  patch: Partial<LogRequest> = {},
) {
  const queries = new Map<string, LogQuery>();
  const taskOf = (id: string) => Object.keys(containers).find((task) => idOf(task) === id)!;
  const runtime = {
    get: async (id: string) => {
      const kept = containers[taskOf(id)];
      return kept && ({ config: kept === 'none' ? { logging: { Name: 'none' } } : {} } as ContainerInfo);
    },
    async *logs(id: string, query: LogQuery): AsyncGenerator<LogLine> {
      queries.set(taskOf(id), query);
      const kept = containers[taskOf(id)]!;
      if (typeof kept === 'string')
        throw new SkeinError(kept === 'none' ? 'unimplemented' : 'not-found', kept);
      for (const time of kept) yield { stream: 'stdout', time, data: Buffer.from(time) };
    },
  };
  const request: LogRequest = {
    ...{ id: 'r', tasks: [...Object.keys(containers), 'gone'] as TaskId[], follow: false },
    ...{ tail: 5, since: undefined, until: undefined, stdout: true, stderr: true },
    ...patch,
  };
  const seen: string[] = [];
  for await (const { taskId, time } of readLogs(runtime, hash, request, new AbortController().signal))
    seen.push(`${taskId} ${time}`);
  return { seen, queries };
}

test('the lines of all tasks that are here, each in their order; what has none, or is gone, is passed over', async () => {
  const { seen, queries } = await read({ a: ['1', '2'], quiet: 'none', b: ['1'], half: 'removed' });
  assert.deepEqual(seen.toSorted(), ['a 1', 'a 2', 'b 1']);
  assert.ok(seen.indexOf('a 1') < seen.indexOf('a 2'));
  assert.equal(queries.get('a')?.tail, 5);
});

test('who has heard some goes on behind the last line, whatever tail was asked for at first', async () => {
  const { seen, queries } = await read({ a: ['2', '3'], b: ['1'] }, { after: { a: '2' } as never });
  assert.deepEqual(seen.toSorted(), ['a 3', 'b 1']);
  const { since, tail } = queries.get('a')!;
  assert.deepEqual([since, tail, queries.get('b')?.tail], ['2', undefined, 5]);
});
