/** `docker stats`: what a container uses, once or every second. */
import { type Answer, json } from '../answer.ts';
import { type Sample, statsJson } from '../convert/stats.ts';
import { isCode } from '../../model/errors.ts';
import type { EngineBackend } from '../backend.ts';
import { type Clock, sleep, timestamp } from '../../kit/clock.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';

const EVERY_MS = 1000;

async function stats(request: ApiRequest): Promise<Answer> {
  const { engine } = request.backends;
  const { clock, signal } = request;
  const container = await engine.container(request.param('id'));
  const processors = (await engine.info()).description.resources.nanoCpus / 1e9;
  const sample = async (): Promise<Sample> => ({
    time: timestamp(clock.now()),
    usage: await engine.control.usage(container.id),
  });
  const shown = (before: Sample | undefined, now: Sample) => statsJson(container, before, now, processors);
  if (!request.flag('stream', true)) {
    // A share needs two looks; one-shot asks for the numbers alone.
    const before = request.flag('one-shot') ? undefined : await sample();
    if (before?.usage) await sleep(clock, EVERY_MS, signal);
    return json(shown(before, await sample()));
  }
  return {
    kind: 'stream',
    contentType: 'application/json',
    chunks: everySecond(sample, () => isThere(engine, container.id), shown, clock, signal),
    eager: true,
    failure: (message) => Buffer.from(`${JSON.stringify({ message })}\n`),
  };
}

async function isThere(engine: EngineBackend, id: string): Promise<boolean> {
  try {
    await engine.container(id);
    return true;
  } catch (error) {
    if (isCode(error, 'not-found')) return false;
    throw error;
  }
}

/** Of a container that does not run, nothing each time; of one that is removed it ends, as Docker's. */
async function* everySecond(
  sample: () => Promise<Sample>,
  there: () => Promise<boolean>,
  shown: (before: Sample | undefined, now: Sample) => object,
  clock: Clock,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  let before: Sample | undefined;
  while (!signal.aborted) {
    const now = await sample();
    if (!now.usage && !(await there())) return;
    yield Buffer.from(`${JSON.stringify(shown(before, now))}\n`);
    before = now;
    await sleep(clock, EVERY_MS, signal);
  }
}

export const statsRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/containers/{id}/stats',
    handler: stats,
    note: 'Processor, memory, pids and network; block I/O is not counted.',
  },
];
