// What the scripts share: where they are, how they speak, and Node 24, which comes as an npm package, so that the host's
// own Node needs to do no more than run npm.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

export function node24() {
  const packaged = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  if (existsSync(packaged)) return packaged;
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  say(
    process.arch === 'x64'
      ? 'Node 24 is not here yet: npm run build installs it with the npm packages'
      : `Skein brings Node 24 for x64; on ${process.arch} it needs one on PATH (this is ${process.version})`,
  );
  process.exit(1);
}

export const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'];

export function say(text) {
  process.stderr.write(`${text}\n`);
}

/** Runs it to its end; what fails ends all, in words. */
export function must(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: 'inherit', ...options });
  if (result.status === 0) return;
  const why = result.error?.message ?? `exit ${result.status ?? result.signal}`;
  say(`${command} ${args.join(' ')} failed (${why})`);
  process.exit(1);
}

/** Runs them all, as many at once as there are processors; shows what each printed whole. What fails ends all, at the end. */
export async function mustAll(command, argvs, options = {}) {
  const left = [...argvs];
  const failures = [];
  const work = async () => {
    for (let args = left.shift(); args; args = left.shift()) {
      const why = await whyFailed(command, args, options);
      if (why) failures.push(`${command} ${args.join(' ')} failed (${why})`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  for (const failure of failures) say(failure);
  if (failures.length > 0) process.exit(1);
}

function whyFailed(command, args, options) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk));
  return new Promise((resolve) => {
    child.on('error', ({ message }) => resolve(message));
    child.on('close', (code, signal) => {
      process.stderr.write(Buffer.concat(output));
      resolve(code !== 0 && `exit ${code ?? signal}`);
    });
  });
}
