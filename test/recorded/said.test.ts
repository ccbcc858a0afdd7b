/**
 * What Docker Swarm said, word for word: Skein is asked everything of the recorded sessions and answers the same, but for
 * what they mark as meant otherwise.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { buildImage } from '../../src/lab/image.ts';
import { downLab, Lab } from '../../src/lab/lab.ts';
import { DockerCli, skipWithoutDocker } from '../docker.ts';
import { meantOtherwise } from './fields-otherwise.ts';
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

const NAME = 'recorded';

describe('a session with Docker Swarm, with Skein', { skip: skipWithoutDocker, timeout: 600_000 }, () => {
  const scratch = makeScratch();
  let engine: Engine;

  before(async () => {
    const lab = await Lab.up({ name: NAME, nodes: 1, cluster: false });
    const { socket, address, name: hostname } = lab.node('node1');
    await lab.engine('node1').load((await buildImage()).tar);
    const cli = new DockerCli(socket, lab.enter('node1'), { DOCKER_API_VERSION: API_VERSION });
    const { ServerVersion: version } = await lab.engine('node1').get<{ ServerVersion: string }>('/info');
    engine = { cli, socket, address, hostname, version, scratch: scratch.path };
  });
  after(async () => {
    engine.cli.close();
    scratch.remove();
    await downLab(NAME);
  });

  const chapters = SESSIONS.flatMap((name) => readSession(readFileSync(join(HERE, name), 'utf8')));
  for (const { title, lines } of chapters) {
    const steps = lines.filter((line) => typeof line !== 'string');
    if (steps.length > 0)
      test(title, async () => {
        const expected: string[] = [];
        const seen: string[] = [];
        for (const step of steps) {
          const answer = await play(step, engine);
          const fields = step.line.startsWith('GET ') && !step.instead;
          expected.push(step.line, ...(fields ? allowed(step, answer) : expectedOf(step)));
          seen.push(step.line, ...answer);
        }
        assert.equal(seen.join('\n'), expected.join('\n'));
      });
  }
});

const expectedOf = ({ output, instead }: Step): readonly string[] =>
  instead ? instead.filter((l) => l.startsWith('~|')).map((l) => l.slice(3)) : output;

/** What Docker has, but for the fields that Skein means to have more or less of. */
function allowed({ line, output }: Step, answer: readonly string[]): readonly string[] {
  const [docker, skein] = [new Set(output), new Set(answer)];
  const otherwise = (field: string) => docker.has(field) !== skein.has(field) && meantOtherwise(line, field);
  return [
    ...output.filter((field) => !otherwise(field)),
    ...answer.filter((field) => otherwise(field)),
  ].sort();
}
