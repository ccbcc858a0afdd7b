/**
 * Recorded sessions of the docker CLI with a real Docker Swarm: what was typed and what came back, swarm.txt and others. A
 * line of one is one of:
 *
 *     $ service ls              a command of the stock CLI (`< file`: with that file of this folder on its input)
 *     GET /services             a request; its answer is told as the set of its fields and their types
 *     ? service ls => 2/2       the command is repeated until its output matches
 *     ~ why                     Skein means to answer the step above otherwise, and why
 *     ~| text                   what it answers instead
 *     # text, ## text           a comment
 *
 * and anything else is the output of the step above: standard output, then standard error behind `! `, then the exit
 * code where it is not 0. Whatever differs from one run to the next stands there as a <word>.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EngineClient } from '../../src/lab/client.ts';
import { until } from '../../src/lab/cluster.ts';
import { type DockerCli, finished } from '../docker.ts';
import { fieldsOf } from './fields.ts';

export const HERE = dirname(fileURLToPath(import.meta.url));
/** Both are spoken to in the version that the recorded Docker knows. */
export const API_VERSION = '1.41';

/** In the order in which they are played, by one engine. */
export const SESSIONS = ['swarm.txt', 'containers.txt', 'images.txt'];

/** For what the commands write. */
export function makeScratch(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'skein-recorded-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export interface Step {
  /** The line as it stands in the file. */
  readonly line: string;
  readonly output: readonly string[];
  /** What Skein answers on purpose, the reason first; undefined where it answers the same. */
  readonly instead: readonly string[] | undefined;
}

const isStep = (line: string): boolean => /^(\$|GET|\?) /.test(line);

/** The session in chapters: everything between two lines that begin with `##`. */
export function readSession(text: string): { title: string; lines: (string | Step)[] }[] {
  const chapters: { title: string; lines: (string | Step)[] }[] = [{ title: '', lines: [] }];
  let step: { line: string; output: string[]; instead: string[] | undefined } | undefined;
  for (const line of text.trimEnd().split('\n')) {
    if (line.startsWith('## ')) chapters.push({ title: line.slice(3), lines: [] });
    if (isStep(line)) chapters.at(-1)!.lines.push((step = { line, output: [], instead: undefined }));
    else if (line.startsWith('#')) chapters.at(-1)!.lines.push(line);
    else if (line === '' && !step) continue;
    else if (line.startsWith('~')) (step!.instead ??= []).push(line);
    else step!.output.push(line);
  }
  // Empty lines at the end of an output part chapters and steps; they are no output.
  for (const { lines } of chapters)
    for (const entry of lines)
      if (typeof entry !== 'string') while (entry.output.at(-1) === '') (entry.output as string[]).pop();
  return chapters;
}

export interface Engine {
  readonly cli: DockerCli;
  readonly socket: string;
  readonly address: string;
  readonly hostname: string;
  readonly version: string;
  /** An empty folder for what the commands write. */
  readonly scratch: string;
}

/** Runs one step; the lines that came back, as they are written into a session. */
export async function play(step: Step, engine: Engine): Promise<string[]> {
  const line = step.line
    .replaceAll('<address>', engine.address)
    .replaceAll('<node>', engine.hostname)
    .replaceAll('<here>', HERE)
    .replaceAll('<scratch>', engine.scratch);
  if (line.startsWith('GET ')) return normal(await get(line.slice(4), engine), engine);
  const [, command = '', pattern] = /^[$?] (.*?)(?: => (.*))?$/.exec(line)!;
  const [words, input] = parse(command);
  if (pattern !== undefined) {
    const shows = new RegExp(pattern);
    const asked = async () => {
      const { stdout, stderr } = await engine.cli.run(...words);
      return shows.test(stdout) || `${stdout}${stderr}`;
    };
    await until(line, asked, { timeoutMs: 60_000, everyMs: 100 });
    return [];
  }
  const child = engine.cli.start(...words);
  child.stdin!.on('error', () => {}); // a command that reads nothing may have ended
  child.stdin!.end(input);
  const { code, stdout, stderr } = await finished(child);
  const errors =
    stderr.trimEnd() === ''
      ? []
      : stderr
          .trimEnd()
          .split('\n')
          .map((l) => `! ${l}`);
  const text = [
    ...(stdout === '' ? [] : [stdout.trimEnd()]),
    ...errors,
    ...(code === 0 ? [] : [`[${code}]`]),
  ];
  return normal(text.join('\n'), engine);
}

async function get(path: string, { socket }: Engine): Promise<string> {
  const { status, body } = await new EngineClient(socket).raw('GET', `/v${API_VERSION}${encodeURI(path)}`);
  const answer: unknown = JSON.parse(body.toString());
  return status < 400 ? fieldsOf(answer).join('\n') : `${status} ${JSON.stringify(answer)}`;
}

/** Words as a shell takes them apart, as far as double quotes go, and the input after `<`. */
function parse(command: string): [string[], string] {
  const [line = '', file] = command.split(' < ');
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!);
  return [words, file === undefined ? '' : readFileSync(join(HERE, file), 'utf8')];
}

/** Names, times and widths differ with every run; all the rest is to be the same. */
const CHANGING: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g, '<certificate>'],
  [/SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}/g, '<token>'],
  [/Issuer (Subject|Public Key):\t\S+/g, 'Issuer $1:\t<bytes>'],
  [/\b[0-9a-z]{25}\b/g, '<id>'],
  [/\b[0-9a-f]{64}\b/g, '<long id>'],
  [/^[0-9a-z]{12}(?=\s)/gm, '<id>'],
  [/\b[0-9a-f]{12}\b/g, '<id>'],
  [/\b[0-9a-f]{14}(?=…)/g, '<id>'],
  [/\/tmp\/skein-bench-docker-\w+\/data/g, '<data>'],
  [/(\.)[0-9a-z]{12}(?=@)/g, '$1<id>'],
  [/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| \+0000 utc| \+0000 UTC)/g, '<time>'],
  [/([Ll]ess than a second|[Aa]bout a minute|\d+ (second|minute|hour|day|week|month|year)s?) ago/g, '<ago>'],
  [/Up ([Ll]ess than a second|[Aa]bout a minute|\d+ (seconds?|minutes?))/g, 'Up <time>'],
  [/"Index": \d+/g, '"Index": <n>'],
  [/^( (CPUs|Memory):\t\t?)\d.*/gm, '$1<n>'],
  [/(Raft|Swarm|Engine) Version:(\s+)\S+/g, '$1 Version:$2<version>'],
  [/(vxlanid_list": )"\d+"/g, '$1"<n>"'],
  [/^ (Log|Network):(\t+).*/gm, ' $1:$2<plugins>'],
  [/"Pid":[1-9]\d*/g, '"Pid":<pid>'],
  [/^(\w+) +\d+ +\d+ +\d+ +\d\d:\d\d +\? +\d\d:\d\d:\d\d /gm, '$1 <process> '],
  [/\b172\.\d+\.\d+\.\d+(?=:\d+\/tcp)/g, '<container>'],
  // Of an image: it depends on what Debian has installed.
  [/\b\d+\.\d+MB\b/g, '<size>'],
  [/time \(\d+\)/g, 'time (<n>)'],
  // The runtime's own words, behind where newer containerd and Docker say what they were at.
  [/(failed to create task for container: )?(failed to create shim task: )/g, '$2'],
  // Newer Docker writes these small.
  [/\bInvalid (?=filter '|signal:)/g, 'invalid '],
  [/\bCannot (?=kill container)/g, 'cannot '],
  [/\bContainer (?=(<long id>|\S+) is (already|not|paused))/g, 'container '],
  // Docker publishes on the addresses of IPv6 too.
  [/, \[::\]:\d+->\d+\/\w+/g, ''],
  [/,{"HostIp":"::","HostPort":"\d+"}/g, ''],
  [/^(\S+ -> )?\[::\]:\d+\n?/gm, ''],
  // Younger than the recorded API.
  [/^ +"EnableIPv4": true,\n/gm, ''],
];

/** The CLI makes what a stack consists of in an order of chance; changes of files come as the layers do. */
const IN_ANY_ORDER = /(?:^(?:Creating|Updating|Removing|[ACD] \/).*\n?)+/gm;

/** A task of a job is called by its slot, or by its node, whose id is of chance and with it which comes first. */
const TASKS = /^<id>  (\w+)\.\S+  .*(?:\n<id>  \1\.\S+  .*)+/gm;
const inAnyOrder = (tasks: string): string =>
  /^<id>  \w+\.\d/m.test(tasks) && /^<id>  \w+\.<id>/m.test(tasks)
    ? tasks.split('\n').sort().join('\n')
    : tasks;

function normal(text: string, engine: Engine): string[] {
  let out = text
    .replaceAll(engine.address, '<address>')
    .replaceAll(HERE, '<here>')
    .replaceAll(engine.scratch, '<scratch>')
    .replaceAll(new RegExp(`(?<![\\w.])${engine.version.replace('+', '\\+')}(?![\\w.])`, 'g'), '<version>')
    .replace(
      IN_ANY_ORDER,
      (lines) => lines.trimEnd().split('\n').sort().join('\n') + (lines.endsWith('\n') ? '\n' : ''),
    );
  for (const [pattern, word] of CHANGING) out = out.replace(pattern, word);
  out = out.replaceAll(new RegExp(`\\b${engine.hostname}\\b`, 'g'), '<node>');
  // Columns are as wide as what is in them.
  const lines = out.split('\n').map((line) => line.replace(/(\S) {2,}/g, '$1  ').trimEnd());
  return lines
    .join('\n')
    .replace(TASKS, inAnyOrder)
    .split('\n')
    .filter((line, i, all) => line !== '' || i < all.length - 1);
}
