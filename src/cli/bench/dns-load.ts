/**
 * A program of its own, run inside a container's namespace: asks a name server and prints what it saw as JSON.
 * `dns-load SERVER PORT NAME SECONDS RATE`; rate 0: as fast as answers come, OUTSTANDING questions at a time.
 */
import { createSocket } from 'node:dgram';
import { encode } from 'dns-packet';

export interface DnsFigures {
  readonly asked: number;
  readonly answered: number;
  readonly wrong: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const SOCKETS = 16;
const OUTSTANDING = 64;
const TICK_MS = 1;
/** A load that was off its core for a while does not make up for it at once. */
const BURST = 50;
/** What is still on its way when the time is up may come in for this long. */
const LAST_MS = 500;
const IDS = 0x10000;

const [server = '', port = '', name = '', seconds = '', rate = '0'] = process.argv.slice(2);
const query = encode({ type: 'query', id: 0, flags: 0x0100, questions: [{ name, type: 'A' }] });
const latencies: number[] = [];
let [asked, wrong] = [0, 0];
const begin = performance.now();
const end = begin + Number(seconds) * 1_000;
const pace = Number(rate) / 1_000;

const sockets = Array.from({ length: SOCKETS }, () => {
  const sent = new Float64Array(IDS);
  const socket = createSocket('udp4');
  let id = 0;
  const ask = () => {
    id = (id + 1) % IDS;
    const bytes = Buffer.from(query);
    bytes.writeUInt16BE(id, 0);
    sent[id] = performance.now();
    socket.send(bytes);
    asked++;
  };
  socket.on('message', (answer) => {
    const now = performance.now();
    latencies.push(now - sent[answer.readUInt16BE(0)]!);
    if ((answer[3]! & 15) !== 0 || answer.readUInt16BE(6) === 0) wrong++;
    if (pace === 0 && now < end) ask();
  });
  return { socket, ask };
});

await Promise.all(
  sockets.map(({ socket }) => new Promise<void>((resolve) => socket.connect(Number(port), server, resolve))),
);
if (pace === 0) for (let i = 0; i < OUTSTANDING; i++) sockets[i % SOCKETS]!.ask();
else {
  let due = 0;
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    if (now >= end) return clearInterval(timer);
    due += Math.min((now - last) * pace, BURST);
    last = now;
    for (; due >= 1; due--) sockets[asked % SOCKETS]!.ask();
  }, TICK_MS);
}

setTimeout(
  () => {
    latencies.sort((a, b) => a - b);
    const at = (q: number) =>
      latencies[Math.min(latencies.length - 1, Math.floor(q * latencies.length))] ?? NaN;
    const figures: DnsFigures = {
      asked,
      answered: latencies.length,
      wrong,
      seconds: Number(seconds),
      p50Ms: at(0.5),
      p99Ms: at(0.99),
    };
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    process.exit(0);
  },
  end - begin + LAST_MS,
);
