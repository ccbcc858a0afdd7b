/**
 * Output of tasks on this node, for `service logs`: the lines of each in their order, of all of them as they come.
 * Tasks that are not here, or have no container any more, are skipped. Nothing is read ahead beyond one line a task.
 */
import type { ContainerRuntime, LogLine } from '../containerd/runtime.ts';
import { isCode } from '../model/errors.ts';
import type { TaskId } from '../model/ids.ts';
import { keepsNothing } from '../model/log-driver.ts';
import { containerIdOf, type HashText } from '../model/names.ts';
import type { LogRecord, LogRequest } from '../rpc/messages.ts';

export async function* readLogs(
  runtime: Pick<ContainerRuntime, 'get' | 'logs'>,
  hash: HashText,
  request: LogRequest,
  signal: AbortSignal,
): AsyncIterable<LogRecord> {
  const inner = new AbortController();
  const abort = () => inner.abort();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  try {
    yield* merge(request.tasks.map((taskId) => linesOf(runtime, hash, taskId, request, inner.signal)));
  } finally {
    inner.abort();
    signal.removeEventListener('abort', abort);
  }
}

async function* linesOf(
  runtime: Pick<ContainerRuntime, 'get' | 'logs'>,
  hash: HashText,
  taskId: TaskId,
  request: LogRequest,
  signal: AbortSignal,
): AsyncGenerator<LogRecord> {
  const id = containerIdOf(taskId, hash);
  try {
    const container = await runtime.get(id);
    if (!container || keepsNothing(container.config.logging)) return;
    const after = request.after?.[taskId];
    const query = after === undefined ? request : { ...request, since: after, tail: undefined };
    for await (const line of runtime.logs(id, query, signal))
      if (after === undefined || line.time > after) yield record(taskId, line);
  } catch (error) {
    // Removed while it was read, or the reader left.
    if (!signal.aborted && !isCode(error, 'not-found')) throw error;
  }
}

const record = (taskId: TaskId, line: LogLine): LogRecord => ({
  taskId,
  stream: line.stream,
  time: line.time,
  data: Buffer.from(line.data).toString('base64'),
});

/** One line of each source is asked for at a time; whichever comes first goes first. */
async function* merge<T>(sources: readonly AsyncGenerator<T>[]): AsyncGenerator<T> {
  const next = (source: AsyncGenerator<T>) => source.next().then((result) => ({ source, result }));
  const waiting = new Map(sources.map((source) => [source, next(source)]));
  try {
    while (waiting.size > 0) {
      const { source, result } = await Promise.race(waiting.values());
      if (result.done) {
        waiting.delete(source);
        continue;
      }
      yield result.value;
      waiting.delete(source); // to the end of the line: a chatty task starves no other
      waiting.set(source, next(source));
    }
  } finally {
    // A source that waits for a line ends by the signal of its reader, not here.
    for (const [source, result] of waiting) {
      void result.catch(() => {});
      void source.return(undefined).catch(() => {});
    }
  }
}
