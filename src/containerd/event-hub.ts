/**
 * One subscription to containerd's events for all who want them. containerd's stream is no log: after each (re)opening
 * everyone is told `resync` and lists again.
 *
 * INVARIANT: `resync` is sent only when the subscription is known to be open: containerd does not say so by itself,
 * so an event of our own is published until it comes back. No change can fall between the list and the stream.
 */
import { type BackoffPolicy, backoff } from '../kit/backoff.ts';
import { type Clock, sleep } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import type { ContainerId } from '../model/ids.ts';
import { fromBinary } from '@bufbuild/protobuf';
import { type ContainerdApi, NAMESPACE } from './api.ts';
import { formatTime } from './log-record.ts';
import type { Envelope } from './gen/events_pb.js';
import {
  ContainerDeleteSchema,
  TaskExitSchema,
  TaskOOMSchema,
  TaskStartSchema,
} from './gen/task-events_pb.js';
import { Mailboxes } from './mailboxes.ts';
import type { ContainerEvent } from './runtime.ts';

const SYNC_TOPIC = '/skein/sync';
const SYNC_RETRY_MS = 100;
const RETRY: BackoffPolicy = { base: 50, cap: 2000 };
export class EventHub {
  readonly #api: ContainerdApi;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #mailboxes = new Mailboxes();
  #run: Promise<void> = Promise.resolve();
  #session = 0;

  constructor(api: ContainerdApi, clock: Clock, log: Log) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#run = this.#subscribe();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#run;
  }

  /** What containerd does not say by itself. */
  tell(event: ContainerEvent): void {
    this.#mailboxes.send(event);
  }

  events(signal: AbortSignal): AsyncGenerator<ContainerEvent> {
    return this.#mailboxes.read(AbortSignal.any([signal, this.#stop.signal]));
  }

  async #subscribe(): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const token = `${SYNC_TOPIC}/${this.#clock.now()}-${this.#session++}`;
      const opened = new AbortController();
      const ended = AbortSignal.any([signal, opened.signal]);
      void this.#announce(token, ended);
      try {
        const filters = ['tasks', 'containers', 'skein'].map(
          (t) => `namespace==${NAMESPACE},topic~="^/${t}/"`,
        );
        for await (const envelope of this.#api.events.subscribe({ filters }, { signal })) {
          if (envelope.topic === token && !opened.signal.aborted) {
            opened.abort();
            failures = 0;
            this.#mailboxes.send({ type: 'resync' });
          }
          const event = read(envelope);
          if (event) this.#mailboxes.send(event);
        }
      } catch (error) {
        if (!signal.aborted) this.#log.debug('event stream broke', { err: error });
      } finally {
        opened.abort();
      }
      await sleep(this.#clock, backoff(RETRY, ++failures), signal);
    }
  }

  /** Publishes the token until it was seen: one published before the subscription is open reaches nobody. */
  async #announce(topic: string, seen: AbortSignal): Promise<void> {
    while (!seen.aborted) {
      await this.#api.events
        .publish(
          { topic, event: { typeUrl: 'skein.sync', value: new Uint8Array() } },
          { signal: seen, timeoutMs: 2000 },
        )
        .catch(() => undefined);
      await sleep(this.#clock, SYNC_RETRY_MS, seen);
    }
  }
}

/** The events that matter here; those of processes beside the container's own are somebody else's. */
function read({ topic, event, timestamp }: Envelope): ContainerEvent | undefined {
  const bytes = event?.value ?? new Uint8Array();
  switch (topic) {
    case '/tasks/start':
      return { type: 'start', id: fromBinary(TaskStartSchema, bytes).containerId as ContainerId };
    case '/tasks/oom':
      return { type: 'oom', id: fromBinary(TaskOOMSchema, bytes).containerId as ContainerId };
    case '/containers/delete':
      return { type: 'delete', id: fromBinary(ContainerDeleteSchema, bytes).id as ContainerId };
    case '/tasks/exit': {
      const exit = fromBinary(TaskExitSchema, bytes);
      if (exit.id !== exit.containerId) return undefined;
      const at = exit.exitedAt ?? timestamp;
      const time = at ? formatTime(at.seconds * 1_000_000_000n + BigInt(at.nanos)) : '';
      const { pid, exitStatus: exitCode } = exit;
      return { type: 'exit', id: exit.containerId as ContainerId, pid, exitCode, time };
    }
    default:
      return undefined;
  }
}
