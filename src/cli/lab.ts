/** `skein lab`: several real nodes on this machine. The lab itself is in lab/; here are flags, words and exit codes. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { SkeinError } from '../model/errors.ts';
import { buildImage } from '../lab/image.ts';
import { downLab, Lab, type LabReport } from '../lab/lab.ts';
import { PROCESSES, type ProcessName } from '../lab/node-process.ts';
import { requireHost } from '../lab/requirements.ts';
import { checkFreeName, stationOf } from '../lab/plan.ts';

const DEFAULT_NAME = 'lab';

interface Named {
  readonly name?: string;
}

const progress = (text: string): void => void process.stderr.write(`${text} ...\n`);
const print = (text: string): void => void process.stdout.write(`${text}\n`);

/** The lab that is meant: the one named, else the only one there is. */
function chosenName(given: string | undefined): string {
  if (given !== undefined) return given;
  const names = Lab.names();
  return names.length === 1 ? names[0]! : DEFAULT_NAME;
}

const open = (options: Named): Lab => Lab.open(chosenName(options.name), { progress });

function integer(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('must be a whole number');
  return Number(text);
}

function collectMtu(text: string, previous: Record<string, number> = {}): Record<string, number> {
  const [, node, mtu] = /^(\w+)=(\d+)$/.exec(text) ?? [];
  if (!node) throw new InvalidArgumentError('must be NODE=MTU');
  return { ...previous, [node]: Number(mtu) };
}

function parseSignal(text: string): NodeJS.Signals {
  const name = text.toUpperCase().replace(/^(SIG)?/, 'SIG');
  const byNumber = Object.entries(constants.signals).find(([, n]) => String(n) === text)?.[0];
  if (byNumber === undefined && !(name in constants.signals))
    throw new InvalidArgumentError('no such signal');
  return (byNumber ?? name) as NodeJS.Signals;
}

function parseJsonObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // said below
  }
  throw new InvalidArgumentError('must be a JSON object');
}

function renderReport(report: LabReport): string {
  const pid = (value: number | null) => (value === null ? '-' : String(value));
  const rows = report.nodes.map((node) => [
    node.name,
    node.address,
    pid(node.pids.skeind),
    pid(node.pids.containerd),
    pid(node.pids.etcd),
    node.socket,
  ]);
  const table = [['NODE', 'ADDRESS', 'SKEIND', 'CONTAINERD', 'ETCD', 'SOCKET'], ...rows];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((row) => row[column]!.length)));
  const lines = table.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
  return [`lab ${report.name}, client ${report.client.address} in ${report.client.netns}`, ...lines].join(
    '\n',
  );
}

const show = (report: LabReport, json: boolean | undefined): void =>
  print(json ? JSON.stringify(report, null, 2) : renderReport(report));

interface UpOptions extends Named {
  readonly nodes: number;
  readonly managers: number;
  readonly cluster: boolean;
  readonly image?: boolean;
  readonly json?: boolean;
  readonly mtu?: Record<string, number>;
  readonly settings?: Record<string, unknown>;
}

async function up(options: UpOptions): Promise<void> {
  const name = checkFreeName(options.name ?? DEFAULT_NAME);
  await requireHost();
  const abort = new AbortController();
  const stop = () => abort.abort(new SkeinError('canceled', 'interrupted; the lab is taken down'));
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop);
  const lab = await Lab.up(
    {
      name,
      nodes: options.nodes,
      managers: options.managers,
      cluster: options.cluster,
      ...(options.mtu && { mtus: options.mtu }),
      ...(options.settings && { settings: options.settings }),
    },
    { progress },
    abort.signal,
  );
  if (options.image) await loadImage(lab, abort.signal);
  show(lab.report(), options.json);
}

/** A lab that was asked for with an image is there with it, or not at all. */
async function loadImage(lab: Lab, signal: AbortSignal): Promise<void> {
  try {
    await lab.load(await buildImage(), signal);
  } catch (error) {
    await lab.down();
    throw error;
  }
}

function list(options: { readonly json?: boolean }): void {
  const labs = Lab.names().map((name) => {
    try {
      return Lab.open(name).report();
    } catch (error) {
      process.stderr.write(`${SkeinError.from(error).message}\n`);
      return undefined;
    }
  });
  const whole = labs.filter((lab) => lab !== undefined);
  if (options.json) print(JSON.stringify(whole, null, 2));
  else for (const lab of whole) print(renderReport(lab));
}

/** Becomes the command as far as terminal and exit code go. DOCKER_HOST points at the node's API. */
function exec(where: string, argv: readonly string[], options: Named): Promise<void> {
  const lab = open(options);
  const station = stationOf(lab.plan, where);
  const asked = argv[0] === '--' ? argv.slice(1) : argv;
  const [command = '', ...args] = [...lab.enter(where), ...asked];
  const env =
    'socket' in station ? { ...process.env, DOCKER_HOST: `unix://${String(station.socket)}` } : process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', env });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => child.kill(signal));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      process.exitCode = code ?? 128 + (signal ? constants.signals[signal] : 1);
      resolve();
    });
  });
}

export function registerLab(program: Command): void {
  // What stands behind the command of `exec` is that command's, also without `--`.
  program.enablePositionalOptions();
  const lab = program
    .command('lab')
    .description('several real nodes on this machine, in network namespaces')
    .enablePositionalOptions();
  const command = (spec: string, description: string) =>
    lab.command(spec).description(description).option('--name <name>', 'which lab (default: the only one)');

  lab
    .command('up')
    .description('start a lab and form a cluster of its nodes')
    .requiredOption('--nodes <n>', 'how many nodes', integer)
    .option('--managers <m>', 'how many of them are managers', integer, 1)
    .option('--no-cluster', 'leave the nodes alone')
    .option('--image', `load the demo's web image on every node: a lab reaches no registry`)
    .option('--name <name>', `name of the lab (default: ${DEFAULT_NAME})`)
    .option('--mtu <node=mtu>', "MTU of a node's uplink; may be repeated", collectMtu)
    .addOption(new Option('--settings <json>', 'further settings of every daemon').argParser(parseJsonObject))
    .option('--json', 'print the result as JSON')
    .action(up);
  lab.command('ls').description('list the labs').option('--json', 'print as JSON').action(list);
  lab
    .command('down [lab]')
    .description('take a lab down, whole or half-made, and leave nothing behind')
    .option('--name <name>', 'which lab (default: the only one)')
    .action(async (given: string | undefined, options: Named) => {
      const name = chosenName(given ?? options.name);
      if (!(await downLab(name))) throw new SkeinError('not-found', `no such lab: ${name}`);
    });

  command('cut <a> [b]', 'cut a node off the segment, or two nodes from each other').action(
    (a: string, b: string | undefined, options: Named) => open(options).cut(a, b),
  );
  command('heal [a] [b]', 'undo a cut; without names, every cut').action(
    (a: string | undefined, b: string | undefined, options: Named) => open(options).heal(a, b),
  );
  command('kill <node> [what]', `end ${PROCESSES.join(', ')} (default: skeind) or all, containers too`)
    .option('--signal <signal>', 'signal to send', parseSignal, 'SIGKILL')
    .action((node: string, what: string | undefined, options: Named & { readonly signal: NodeJS.Signals }) =>
      open(options).kill(node, checkProcess(what), options.signal),
    );
  command('start <node>', 'start what of a node does not run').action((node: string, options: Named) =>
    open(options).start(node),
  );
  command('reboot <node>', 'lose everything of a node but its data root, then start it').action(
    (node: string, options: Named) => open(options).reboot(node),
  );
  command('exec <where> <command...>', 'run a command in the namespace of a node or of the client')
    .passThroughOptions()
    .action((where: string, argv: string[], options: Named) => exec(where, argv, options));
}

function checkProcess(what: string | undefined): ProcessName | 'all' | undefined {
  if (what === undefined || what === 'all') return what;
  const known = PROCESSES.find((name) => name === what);
  if (known) return known;
  throw new SkeinError(
    'invalid-argument',
    `no such process: ${what} (there are: ${PROCESSES.join(', ')}, all)`,
  );
}
