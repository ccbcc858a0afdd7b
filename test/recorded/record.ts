/**
 * Asks a real Docker Swarm everything that the sessions ask and writes its answers there: for a new line in one, or
 * a new Docker. Needs dockerd (Debian's docker.io) and the rights of root: `node test/recorded/record.ts [FILE ...]`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { startDockerSwarm } from '../../src/cli/bench/docker-swarm.ts';
import { buildImage } from '../../src/lab/image.ts';
import { DockerCli } from '../docker.ts';
import {
  API_VERSION,
  type Engine,
  HERE,
  makeScratch,
  play,
  readSession,
  SESSIONS,
  type Step,
} from './session.ts';

const undo: (() => Promise<void> | void)[] = [];
try {
  const stage = {
    signal: new AbortController().signal,
    cleanUp: (work: () => Promise<void> | void) => void undo.push(work),
  };
  const { engine, address } = await startDockerSwarm(stage, await buildImage());
  await engine.post('/swarm/leave', undefined, { query: { force: 1 } });
  const cli = new DockerCli(engine.socket, [], { DOCKER_API_VERSION: API_VERSION });
  undo.push(() => cli.close());
  const { ServerVersion: version } = await engine.get<{ ServerVersion: string }>('/info');
  const scratch = makeScratch();
  undo.push(scratch.remove);
  const asked = { cli, socket: engine.socket, address, hostname: hostname(), version, scratch: scratch.path };
  const named = process.argv.slice(2);
  for (const name of named.length > 0 ? named : SESSIONS) await record(join(HERE, name), asked);
} finally {
  for (const work of undo.reverse()) await work();
}

async function record(file: string, engine: Engine): Promise<void> {
  const out: string[] = [];
  for (const { lines } of readSession(readFileSync(file, 'utf8')))
    for (const entry of lines)
      if (typeof entry === 'string') out.push(...(entry.startsWith('## ') ? ['', entry, ''] : [entry]));
      else out.push(...(await recorded(entry, engine)));
  writeFileSync(file, `${out.join('\n')}\n`);
}

async function recorded(step: Step, engine: Engine): Promise<string[]> {
  const output = await play(step, engine);
  process.stderr.write(`${[step.line, ...output].join('\n')}\n`);
  return [step.line, ...output, ...(step.instead ?? [])];
}
