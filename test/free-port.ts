/** A port for a program that takes no 0 for "any": free now, and none that the kernel gives to whoever connects. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 30_000);
    if (await isFree(host, port)) return port;
  }
}

const isFree = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
      .once('error', () => resolve(false))
      .listen(port, host, () => server.close(() => resolve(true)));
  });
