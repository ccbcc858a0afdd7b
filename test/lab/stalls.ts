/**
 * How long this machine made a process wait that wanted to run: what a test takes off a time that it measured, where
 * the time is what is promised and the machine may be busy. A thread sleeps 5 ms again and again, and adds up what it
 * overslept. On an idle machine that is next to nothing.
 */
import { Worker } from 'node:worker_threads';

const SLEEPER = `
const { workerData } = require('node:worker_threads');
const never = new Int32Array(new SharedArrayBuffer(4));
const overslept = new Float64Array(workerData);
for (let last = performance.now(); ; ) {
  Atomics.wait(never, 0, 0, 5);
  const now = performance.now();
  overslept[0] += Math.max(0, now - last - 6);
  last = now;
}
`;

export class Stalls {
  readonly #overslept = new Float64Array(new SharedArrayBuffer(8));
  readonly #worker = new Worker(SLEEPER, { eval: true, workerData: this.#overslept.buffer });

  constructor() {
    this.#worker.unref(); // a test that fails need not close it
  }

  /** Milliseconds so far. */
  get ms(): number {
    return this.#overslept[0]!;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
