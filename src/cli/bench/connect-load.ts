/**
 * A program of its own, run in the client's namespace: opens TCP connections one after another and prints how long
 * each took, in milliseconds, as JSON: the first packet of a connection, there and back. `connect-load HOST PORT COUNT`
 */
import { connect } from 'node:net';

const [host = '', port = '', count = ''] = process.argv.slice(2);

const open = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const began = performance.now();
    const socket = connect({ host, port: Number(port) });
    socket.once('error', reject);
    socket.once('connect', () => {
      resolve(performance.now() - began);
      socket.resetAndDestroy(); // Leaves no port of the client in TIME_WAIT.
    });
  });

const latencies: number[] = [];
for (let n = 0; n < Number(count); n++) latencies.push(await open());
process.stdout.write(`${JSON.stringify(latencies)}\n`);
