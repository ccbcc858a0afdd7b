/**
 * When a node's kernel began to spread the connections of a published port over so many backends, to the message: one
 * `nft monitor` a node prints the port's count of backends as it is committed. Nothing is polled, so that the watching
 * costs next to nothing.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { until } from '../../lab/cluster.ts';
import type { Lab } from '../../lab/lab.ts';
import { SkeinError } from '../../model/errors.ts';

/** A table that is made and removed to see that a monitor listens. */
const PROBE = 'skein-bench-probe';
const WAIT_MS = 20_000;

interface Wait {
  readonly backends: number;
  readonly done: (at: number) => void;
}

export class BackendWatch {
  readonly #port: number;
  readonly #monitors = new Map<string, ChildProcess>();
  readonly #listening = new Set<string>();
  readonly #waits = new Map<string, Wait>();

  private constructor(lab: Lab, nodes: readonly string[], port: number) {
    this.#port = port;
    for (const node of nodes) {
      const [command = '', ...args] = [...lab.enter(node), 'nft', 'monitor'];
      // What it says of sets that it does not know goes to stderr.
      const monitor = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
      createInterface({ input: monitor.stdout }).on('line', (line) => this.#see(node, line));
      this.#monitors.set(node, monitor);
    }
  }

  /** Resolves when every node is listened to. */
  static async open(
    lab: Lab,
    nodes: readonly string[],
    port: number,
    signal: AbortSignal,
  ): Promise<BackendWatch> {
    const watch = new BackendWatch(lab, nodes, port);
    const probe = `add table ip ${PROBE}; delete table ip ${PROBE}`;
    try {
      for (const node of nodes)
        await until(
          `the monitor of ${node} to listen`,
          async () => {
            await lab.exec(node, ['nft', probe], { signal });
            return watch.#listening.has(node) || 'it has not seen a table that was made';
          },
          { timeoutMs: WAIT_MS, signal },
        );
    } catch (error) {
      watch.close();
      throw error;
    }
    return watch;
  }

  /**
   * When each node comes to spread connections over so many backends, in milliseconds since the epoch. To be asked
   * before whatever makes it happen.
   */
  next(nodes: readonly string[], backends: number): Promise<readonly number[]> {
    return Promise.all(nodes.map((node) => this.#next(node, backends)));
  }

  close(): void {
    for (const monitor of this.#monitors.values()) monitor.kill();
  }

  #next(node: string, backends: number): Promise<number> {
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => {
        this.#waits.delete(node);
        reject(new SkeinError('unavailable', `${node} did not come to send to ${backends} backends`));
      }, WAIT_MS);
      const done = (at: number) => {
        clearTimeout(late);
        this.#waits.delete(node);
        resolve(at);
      };
      this.#waits.set(node, { backends, done });
    });
  }

  #see(node: string, line: string): void {
    if (line.includes(PROBE)) this.#listening.add(node);
    const wait = this.#waits.get(node);
    if (wait && backendsIn(line, this.#port) === wait.backends) wait.done(Date.now());
  }
}

/** Of `add element ip skein counts { tcp . 8001 : 0:3 }`, where the port may be a service's name. */
export function backendsIn(line: string, port: number): number | undefined {
  const found = /^add element ip skein counts \{ tcp \. (\S+) : ([0-9a-f]+):([0-9a-f]+) \}/.exec(line);
  return found?.[1] === String(port)
    ? parseInt(found[2]!, 16) * 0x10000 + parseInt(found[3]!, 16)
    : undefined;
}
