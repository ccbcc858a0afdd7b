/**
 * Runs in a namespace of a lab: calls methods of the control protocol as whoever it is told to be, and prints, by
 * method, what came of it. `{ addr, trust, methods }` comes on standard input.
 */
import { text } from 'node:stream/consumers';
import { systemClock } from '../../src/kit/clock.ts';
import { SkeinError } from '../../src/model/errors.ts';
import { RpcClient } from '../../src/rpc/client.ts';
import type { MethodName } from '../../src/rpc/methods.ts';
import type { Trust } from '../../src/rpc/tls.ts';

export interface Calls {
  readonly addr: string;
  readonly trust: Trust;
  readonly methods: readonly MethodName[];
}

const { addr, trust, methods } = JSON.parse(await text(process.stdin)) as Calls;
const outcome: Partial<Record<MethodName | 'connect', string>> = {};
try {
  const client = await RpcClient.connect({ addr, trust, clock: systemClock });
  for (const name of methods) {
    // The parameters are never good: who gets as far as having them read may call.
    const answers = client.stream(name, {} as never, { signal: AbortSignal.timeout(10_000) });
    try {
      for await (const _ of answers) break;
      outcome[name] = 'served';
    } catch (error) {
      outcome[name] = SkeinError.from(error).code;
    }
  }
  client.close();
} catch (error) {
  outcome.connect = SkeinError.from(error).message;
}
process.stdout.write(JSON.stringify(outcome));
process.exit(0);
