/** `skein explain`: the way of a connection through the cluster, without traffic, and where it would be lost. */
import { type Command, Option } from 'commander';
import { EngineClient } from '../lab/client.ts';
import { SkeinError } from '../model/errors.ts';
import type { ExplainAnswer } from '../trace/explain-question.ts';
import { renderExplanation } from '../trace/explain-text.ts';

interface ExplainOptions {
  readonly protocol: string;
  readonly backend?: string;
  readonly clientPort?: string;
  readonly size?: string;
  readonly rules?: boolean;
  readonly json?: boolean;
  readonly socket: string;
}

export function registerExplain(program: Command): void {
  program
    .command('explain')
    .description(
      'walk the planned rules, FDB, neighbours and routes: the way of a connection, without traffic',
    )
    .argument('<client>', 'an address, a node, a task or a container (name or id)')
    .argument('<target>', 'NODE:PORT; from a task also VIP:PORT, SERVICE:PORT or ADDRESS:PORT')
    .addOption(new Option('--protocol <name>').choices(['tcp', 'udp', 'sctp']).default('tcp'))
    .option('--backend <task>', 'only the way to this task (name, id or address)')
    .option('--client-port <port>', "the client's own port, 50000 unless given")
    .option('--size <bytes>', 'of the packet, 60 unless given: does it fit every link?')
    .option('--rules', 'print also what decided, step by step')
    .option('--json', 'print the answer as JSON')
    .option('--socket <path>', "a manager's API socket", '/run/skein/skein.sock')
    .action(explain);
}

const PATH = '/skein/explain';

/** What is refused is said in the API's own words. */
async function ask(socket: string, query: Readonly<Record<string, string>>): Promise<ExplainAnswer> {
  try {
    return await new EngineClient(socket).get<ExplainAnswer>(PATH, { query });
  } catch (error) {
    const { code, message } = SkeinError.from(error);
    throw new SkeinError(code, message.replace(`GET ${PATH}: `, ''), { cause: error });
  }
}

async function explain(client: string, target: string, options: ExplainOptions): Promise<void> {
  const { protocol, backend, clientPort, size, rules, json, socket } = options;
  const query = {
    ...{ client, target, protocol },
    ...(backend !== undefined && { backend }),
    ...(clientPort !== undefined && { 'client-port': clientPort }),
    ...(size !== undefined && { size }),
  };
  const answer = await ask(socket, query);
  const names = {
    addresses: new Map(Object.entries(answer.names.addresses)),
    macs: new Map(Object.entries(answer.names.macs)),
  };
  const text = json
    ? JSON.stringify(answer, null, 2)
    : renderExplanation(answer, names, { rules: rules ?? false });
  process.stdout.write(`${text}\n`);
  if (answer.paths.every(({ loss }) => loss !== undefined)) process.exitCode = 1;
}
