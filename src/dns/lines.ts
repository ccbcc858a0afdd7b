/** The lines that come in on a connection, until it ends in whatever way. */
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';

export function linesOf(socket: Socket): AsyncIterable<string> {
  const lines = createInterface({ input: socket, crlfDelay: Infinity });
  // A connection that is destroyed has no end of its stream.
  socket.once('close', () => lines.close());
  return lines;
}
