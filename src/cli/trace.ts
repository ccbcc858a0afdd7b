/**
 * `skein trace`: what connections to a service do on the wire, hop by hop, on every node that they pass. The daemon
 * captures (manager/trace, trace/node-tracer.ts), this joins and prints.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { type Command, InvalidArgumentError } from 'commander';
import { EngineClient } from '../lab/client.ts';
import { SkeinError } from '../model/errors.ts';
import { connectionJson } from '../trace/connection-json.ts';
import type { Connection } from '../trace/connection.ts';
import { encodePcapng } from '../trace/pcapng.ts';
import { renderConnections, renderOutcome } from '../trace/render.ts';
import { type TraceEvent, TraceReport } from '../trace/report.ts';

interface TraceOptions {
  readonly client: readonly string[];
  readonly count: number;
  readonly timeout: number;
  readonly packets: number;
  readonly write?: string;
  readonly json?: boolean;
  readonly socket: string;
}

/** How often complete connections are looked for. */
const LOOK_MS = 200;
const PATH = '/skein/trace';
const MANAGER_LOST = 'the connection to this manager was lost; ask another one to go on';

const HELP = `
It prints each connection when it has ended, or after some seconds, as the packet at each hop: its addresses before and
after translation, the case (same host, cross host, or lost: it reached no container), and the time until the next hop.
Connections to published ports, to virtual IPs and to the containers themselves are shown, TCP and UDP.

Nothing is needed in the containers. The nodes' own connection tracking and TCP's sequence numbers tell which packets
are one connection. Times between two nodes bear what their clocks may differ by (± ms). What was open before the trace
is counted, not shown. The capture ends after --count connections, --timeout seconds or --packets packets of a node,
and with Ctrl-C; a node that cannot take part is named with the reason.

Run it on a manager, as root or in the group of the API's socket.`;

export function registerTrace(program: Command): void {
  program
    .command('trace <service>')
    .description('show the packets of connections to a service, hop by hop, on all nodes involved')
    .option('--client <cidr>', 'only connections from this address or subnet (repeatable)', collect, [])
    .option('--count <n>', 'end after so many connections', positive, 10)
    .option('--timeout <seconds>', 'end after so many seconds', positive, 30)
    .option('--packets <n>', 'end a node’s capture after so many packets', positive, 20_000)
    .option('--write <file>', 'write all captured packets as pcapng, for Wireshark')
    .option('--json', 'print each connection as one line of JSON')
    .option('--socket <path>', "a manager's API socket", '/run/skein/skein.sock')
    .addHelpText('after', HELP)
    .action(async (service: string, options: TraceOptions) => {
      await new Trace(service, options).run();
    });
}

const collect = (value: string, all: readonly string[]): readonly string[] => [...all, value];

function positive(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number <= 0)
    throw new InvalidArgumentError('a whole number above 0 is needed');
  return number;
}

const note = (text: string): void => void process.stderr.write(`${text}\n`);

class Trace {
  readonly #service: string;
  readonly #options: TraceOptions;
  readonly #report: TraceReport;
  readonly #stop = new AbortController();
  #shown = 0;

  constructor(service: string, options: TraceOptions) {
    this.#service = service;
    this.#options = options;
    this.#report = new TraceReport({ clients: options.client, keepFrames: options.write !== undefined });
  }

  async run(): Promise<void> {
    const { write } = this.#options;
    // Before anything is captured: a file that cannot be written is no surprise at the end.
    const file = write === undefined ? undefined : openSync(write, 'w');
    const interrupted = () => this.#stop.abort('interrupted');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, interrupted);
    process.stdout.on('error', () => this.#stop.abort('nobody reads what it shows'));
    const looking = setInterval(() => this.#show(this.#report.connections(Date.now())), LOOK_MS);
    try {
      await this.#follow();
    } finally {
      clearInterval(looking);
      this.#show(this.#report.connections(Date.now(), true));
      this.#summary();
      if (file !== undefined) {
        writeFileSync(file, encodePcapng(this.#report.frames()));
        closeSync(file);
      }
    }
  }

  async #follow(): Promise<void> {
    const { client, timeout, packets, socket } = this.#options;
    const engine = new EngineClient(socket);
    const body = { Service: this.#service, Clients: client, Packets: packets, Seconds: timeout };
    const { signal } = this.#stop;
    try {
      // The stream ends by itself when the time is over; this is for a daemon that stands still.
      const timeoutMs = timeout * 1000 + 5_000;
      for await (const event of engine.lines<TraceEvent>('POST', PATH, {
        body,
        timeoutMs,
        signal,
      })) {
        this.#report.take(event, Date.now());
        this.#announce(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      const { code, message } = SkeinError.from(error);
      if (code === 'unavailable' && this.#report.nodes.size > 0)
        return this.#report.take({ type: 'end', why: MANAGER_LOST }, Date.now());
      throw new SkeinError(code, message.replace(`POST ${PATH}: `, ''), { cause: error });
    }
  }

  #announce(event: TraceEvent): void {
    if (event.type !== 'node') return;
    note(
      event.why === undefined ? `... capturing on ${event.node}` : `... not on ${event.node}: ${event.why}`,
    );
  }

  #show(connections: readonly Connection[]): void {
    const { json, count } = this.#options;
    const { names, clocks } = this.#report;
    for (const connection of connections) {
      if (this.#shown === count) break;
      this.#shown++;
      const text = json
        ? JSON.stringify(connectionJson(connection, names, clocks))
        : `${renderConnections([connection], names, clocks)}\n${renderOutcome(connection)}\n`;
      process.stdout.write(`${text}\n`);
    }
    if (this.#shown === count) this.#stop.abort(`${count} connections shown`);
  }

  #summary(): void {
    const { nodes, packets, midway, end } = this.#report;
    if (nodes.size === 0) return;
    const why = this.#stop.signal.aborted ? String(this.#stop.signal.reason) : end;
    const missing = [...nodes].filter(([, reason]) => reason !== undefined);
    note(
      [
        `... ${this.#shown} of the service’s connections in ${packets} packets of ${nodes.size} nodes`,
        ...(midway > 0 ? [`${midway} that were open before are not shown`] : []),
        ...missing.map(([node, reason]) => `not captured on ${node}: ${reason}`),
        ...(why === undefined ? [] : [`ended: ${why}`]),
      ].join('; '),
    );
  }
}
