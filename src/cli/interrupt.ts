/** Ctrl-C and its kin, for commands that have made something on this machine and take it down before they end. */
import { SkeinError } from '../model/errors.ts';

/** Signals end what is under way; a second one (a terminal sends it to npm and to us) changes nothing. */
export function untilInterrupted(progress: (text: string) => void): AbortSignal {
  const abort = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (!abort.signal.aborted) progress('interrupted: taking everything down');
      abort.abort(new SkeinError('canceled', 'interrupted'));
    });
  return abort.signal;
}
