/**
 * One end of a conversation, as a process inside a namespace.
 *   talk.ts serve NAME PORT                 answers each line (TCP) or datagram (UDP) with `NAME <caller's address>`
 *   talk.ts dial tcp|udp ADDRESS PORT N     N connections or flows, one line printed for each answer or error code
 *   talk.ts hold tcp|udp ADDRESS PORT       one connection or flow; each line of stdin is sent, each answer printed
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [mode = '', first = '', second = '', third = '', fourth = '1'] = process.argv.slice(2);

function serve(name: string, port: number): void {
  createServer((socket) => {
    socket.on('data', () => socket.write(`${name} ${socket.remoteAddress}\n`));
    socket.on('error', () => socket.destroy());
  }).listen(port, '0.0.0.0', () => process.stdout.write('ready\n'));
  const udp = createSocket('udp4', (_, from) => udp.send(`${name} ${from.address}`, from.port, from.address));
  udp.bind(port);
}

const dialTcp = (host: string, port: number) =>
  new Promise<string>((resolve) => {
    const socket = connect({ host, port, timeout: 10_000 }, () => socket.write('?\n'));
    socket.once('data', (data) => {
      resolve(data.toString().trim());
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.once('timeout', () => {
      resolve('ETIMEDOUT');
      socket.destroy();
    });
  });

const dialUdp = (host: string, port: number) =>
  new Promise<string>((resolve) => {
    // Open until this program ends: the next flow has a port of its own, and is none that the kernel knows.
    const socket = createSocket('udp4').unref();
    const end = (text: string) => {
      clearTimeout(timer);
      resolve(text);
    };
    const timer = setTimeout(() => end('ETIMEDOUT'), 3000);
    socket.once('message', (data) => end(data.toString()));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'));
    // A connected socket hears of a refusal.
    socket.connect(port, host, () => socket.send('?'));
  });

function hold(protocol: string, host: string, port: number): void {
  const say = (data: Buffer) => process.stdout.write(`${data.toString().trim()}\n`);
  if (protocol === 'tcp') {
    const socket = connect({ host, port })
      .on('data', say)
      .on('error', (e) => say(Buffer.from(String(e))));
    process.stdin.on('data', (line) => socket.write(line)).on('end', () => process.exit(0));
    return;
  }
  const socket = createSocket('udp4').on('message', say);
  socket.bind(0, () =>
    process.stdin.on('data', (line) => socket.send(line, port, host)).on('end', () => process.exit(0)),
  );
}

if (mode === 'serve') serve(first, Number(second));
else if (mode === 'hold') hold(first, second, Number(third));
else
  for (let i = 0; i < Number(fourth); i++)
    process.stdout.write(`${await (first === 'udp' ? dialUdp : dialTcp)(second, Number(third))}\n`);
