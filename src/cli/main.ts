/**
 * The `skein` command: what the docker CLI lacks. Each file beside this one adds a few commands; none of them knows
 * the cluster from inside: they start the daemon, the lab, or speak to the API.
 */
import { Command } from 'commander';
import { SkeinError } from '../model/errors.ts';
import { registerBench } from './bench.ts';
import { registerDaemon } from './daemon.ts';
import { registerDemo } from './demo.ts';
import { registerDoctor } from './doctor.ts';
import { registerExplain } from './explain.ts';
import { registerInstall } from './install.ts';
import { registerLab } from './lab.ts';
import { registerTrace } from './trace.ts';
import { registerUninstall } from './uninstall.ts';

const program = new Command('skein')
  .description('Containers on many hosts as one service. Drive it with the stock docker CLI.')
  .showHelpAfterError();

registerDaemon(program);
registerInstall(program);
registerUninstall(program);
registerLab(program);
registerDemo(program);
registerBench(program);
registerDoctor(program);
registerExplain(program);
registerTrace(program);

/** Whoever read may be gone (`| head`, a closed terminal): what is under way goes on to its end, told to nobody. */
const READER_GONE = ['EPIPE', 'EIO'];
for (const stream of [process.stdout, process.stderr])
  stream.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (!READER_GONE.includes(code ?? '')) process.exitCode = 1;
  });

try {
  await program.parseAsync();
} catch (error) {
  const known = SkeinError.from(error);
  process.stderr.write(`skein: ${known.message}\n`);
  if (known.code === 'internal' && known.cause instanceof Error)
    process.stderr.write(`${known.cause.stack}\n`);
  process.exitCode = 1;
}
