/** The input of a process through its named pipe. The shim holds the pipe open too, so its end must be told to it. */
import { Writable } from 'node:stream';
import type { Socket } from 'node:net';
import type { Log } from '../kit/log.ts';

/** Each write resolves when the pipe has taken it; `close` tells the shim. */
export function stdinPipe(pipe: Socket, close: () => Promise<unknown>, log: Log): Writable {
  pipe.on('error', () => pipe.destroy());
  const stdin = new Writable({
    write: (chunk: Uint8Array, _encoding, done) => pipe.write(chunk, done),
    final: (done) => {
      close()
        .catch((error: unknown) => log.debug('an input was closed already', { err: error }))
        .finally(() => {
          pipe.destroy();
          done();
        });
    },
    destroy: (error, done) => {
      pipe.destroy();
      done(error);
    },
  });
  stdin.on('error', () => {}); // the writer sees its own failure
  return stdin;
}
