import type { TestContext } from 'node:test';
import { send, suspend } from '../src/lab/signals.ts';

/** The process hangs until it is sent SIGCONT, or the test ends, however it does: those after it need the process too. */
export async function hang(t: TestContext, pid: number): Promise<void> {
  t.after(() => send(pid, 'SIGCONT'));
  await suspend([pid]);
}
