/**
 * The resolver's process: `main.ts SOCKET`. Batches come in over the unix socket, one JSON value a line; each is
 * acknowledged when it is in force. Its only clients are this node's skeind and whoever else is root. It loads little:
 * it runs on every node, beside everything else.
 */
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { linesOf } from './lines.ts';
import type { FromResolver, ToResolver } from './records.ts';
import { Resolver } from './resolver.ts';

const path = process.argv[2];
if (!path) {
  process.stderr.write('usage: main.ts SOCKET\n');
  process.exit(2);
}

const resolver = new Resolver();
/** Batches one after the other, whichever connection they come from. */
let queue: Promise<unknown> = Promise.resolve();

async function converse(socket: Socket): Promise<void> {
  let batch: Exclude<ToResolver, { type: 'commit' }>[] = [];
  for await (const line of linesOf(socket)) {
    const message = JSON.parse(line) as ToResolver;
    if (message.type !== 'commit') {
      batch.push(message);
      continue;
    }
    const changes = batch;
    batch = [];
    const applied = queue.then(() => resolver.apply(changes));
    queue = applied.catch(() => undefined);
    const answer: FromResolver = { seq: message.seq, failed: await applied };
    socket.write(`${JSON.stringify(answer)}\n`);
  }
}

const server = createServer((socket) => {
  socket.on('error', () => {}); // skeind went away: what it said last stays in force
  converse(socket).catch((error: unknown) => {
    process.stderr.write(`resolver: a batch could not be taken: ${String(error)}\n`);
    socket.destroy();
  });
});

/** Another version has taken over, or nobody asks any more; what was asked of this one still is answered. */
const DRAIN_MS = 100;
const end = () => {
  server.close();
  setTimeout(() => {
    resolver.close();
    process.exit(0);
  }, DRAIN_MS);
};
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end);
rmSync(path, { force: true });
process.umask(0o177);
server.listen(path, () => {
  chmodSync(path, 0o600);
  process.umask(0o022);
});
