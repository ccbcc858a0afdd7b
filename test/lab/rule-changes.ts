/**
 * Counts how often the rules of a node change, by what the kernel tells: `nft monitor` prints a transaction's changes
 * and ends it with the number of its generation. A marker of ours in front and behind says that the monitor listens,
 * and that it has told everything.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { until } from '../../src/lab/cluster.ts';
import type { Lab } from '../../src/lab/lab.ts';

const MARKER = 'rule-changes';
const END = /^# new generation \d+ by process \d+ \(.*\)$/m;

export class RuleChanges {
  readonly #lab: Lab;
  readonly #node: string;
  readonly #child: ChildProcess;
  readonly #began = performance.now();
  #text = '';

  private constructor(lab: Lab, node: string) {
    this.#lab = lab;
    this.#node = node;
    const [command = '', ...args] = [...lab.enter(node), 'nft', 'monitor'];
    this.#child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#child.stdout!.on('data', (data: Buffer) => (this.#text += data.toString()));
  }

  static async of(lab: Lab, node: string): Promise<RuleChanges> {
    const changes = new RuleChanges(lab, node);
    await changes.#mark('add');
    return changes;
  }

  /** Transactions of others than us, and the seconds in which they were counted. */
  async end(): Promise<{ readonly changes: number; readonly seconds: number }> {
    const seconds = (performance.now() - this.#began) / 1000;
    await this.#mark('delete');
    this.#child.kill();
    await once(this.#child, 'close');
    const transactions = this.#text.split(END).slice(0, -1);
    const changes = transactions.filter((lines) => !lines.includes(` table ip ${MARKER}`)).length;
    return { changes, seconds };
  }

  #mark(verb: 'add' | 'delete'): Promise<void> {
    return until(
      `the monitor of ${this.#node} to tell of the marker`,
      async () => {
        if (this.#text.includes(`${verb} table ip ${MARKER}`)) return true;
        // A marker that came before the monitor listened is made again.
        const batch = `add table ip ${MARKER}\ndelete table ip ${MARKER}\n`;
        const input = verb === 'add' ? `${batch}add table ip ${MARKER}\n` : batch;
        await this.#lab.exec(this.#node, ['nft', '-f', '-'], { input });
        return 'not yet';
      },
      { timeoutMs: 20_000, everyMs: 100 },
    );
  }
}
