/**
 * Two nodes and a client, each a network namespace, on an underlay bridge with 192.0.2.0/24. Everything hangs on
 * namespaces under one scratch folder, so closing it leaves nothing behind.
 */
import { type ChildProcessWithoutNullStreams, execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { silentLog } from '../../src/kit/log.ts';
import type { Ipv4 } from '../../src/model/ids.ts';
import { KernelNetwork } from '../../src/net/kernel-network.ts';
import { writeSysctl } from '../../src/net/sysctl.ts';
import { createNetns, inNetns, removeNetns } from '../../src/kit/netns.ts';

const run = promisify(execFile);
const TALK = fileURLToPath(new URL('talk.ts', import.meta.url));

export type Host = 'a' | 'b' | 'client';
export const ADDRESS: Record<Host, string> = { a: '192.0.2.4', b: '192.0.2.5', client: '192.0.2.100' };

/** A process that answers line by line. */
export class Talk {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  constructor(netns: string, args: readonly string[]) {
    this.#child = spawn('nsenter', [`--net=${netns}`, process.execPath, TALK, ...args]);
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => (timer = setTimeout(() => resolve('no answer'), 20_000)));
    const line = this.#lines.next().then((r) => String(r.value));
    return Promise.race([line, late]).finally(() => clearTimeout(timer));
  }

  ask(): Promise<string> {
    this.#child.stdin.write('?\n');
    return this.next();
  }

  stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return Promise.resolve();
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.kill('SIGKILL');
    return ended;
  }
}

export class TwoNodes {
  readonly folder = mkdtempSync(join(tmpdir(), 'skein-net-'));
  readonly #networks: KernelNetwork[] = [];
  readonly #talks: Talk[] = [];

  constructor() {
    for (const name of ['underlay', 'a', 'b', 'client']) createNetns(this.host(name));
    this.ip(this.host('underlay'), ['link add br0 type bridge', 'link set br0 up']);
    for (const [name, address] of Object.entries(ADDRESS)) {
      const netns = this.host(name);
      // A connection that a host makes, or has ended of late, has none of the ports below: tests bind those.
      inNetns(netns, () => writeSysctl('net/ipv4/ip_local_port_range', '33000 60999'));
      this.ip(netns, ['link add eth0 type veth peer name port', 'link set lo up', 'link set eth0 up']);
      this.ip(netns, [`addr add ${address}/24 dev eth0`, `link set port netns ${this.#ofUnderlay()}`]);
      this.ip(this.host('underlay'), [`link set port name p-${name}`, `link set p-${name} master br0 up`]);
    }
  }

  host(name: string): string {
    return join(this.folder, name);
  }

  runRoot(host: Host): string {
    return join(this.folder, `run-${host}`);
  }

  /** `eth0 192.0.2.4` of each link but lo, sorted. */
  addresses(netns: string): string[] {
    const shown = execFileSync('nsenter', [`--net=${netns}`, 'ip', '-4', '-br', 'addr'], {
      encoding: 'utf8',
    });
    const lines = [...shown.matchAll(/^(\S+?)(?:@\S+)? +\S+ +([\d.]+)\/\d+/gm)];
    const named = lines.map(([, link, address]) => `${link} ${address}`);
    return named.filter((line) => !line.startsWith('lo ')).sort();
  }

  fabric(host: Host): string {
    return join(this.runRoot(host), 'netns', 'fabric');
  }

  /** A network of the node, as a freshly started daemon would open it. */
  async open(host: Host): Promise<KernelNetwork> {
    const network = await KernelNetwork.open({
      runRoot: this.runRoot(host),
      netns: this.host(host),
      vtep: ADDRESS[host] as Ipv4,
      log: silentLog,
    });
    this.#networks.push(network);
    return network;
  }

  ip(netns: string, lines: readonly string[]): string {
    return execFileSync('nsenter', [`--net=${netns}`, 'ip', '-batch', '-'], {
      input: lines.join('\n'),
      encoding: 'utf8',
    });
  }

  exec(netns: string, ...argv: string[]): string {
    return execFileSync('nsenter', [`--net=${netns}`, ...argv], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  async serve(netns: string, name: string, port: number): Promise<Talk> {
    const talk = this.#talk(netns, ['serve', name, String(port)]);
    await talk.next();
    return talk;
  }

  hold(netns: string, protocol: 'tcp' | 'udp', address: string, port: number): Talk {
    return this.#talk(netns, ['hold', protocol, address, String(port)]);
  }

  /** The answers of `count` connections made one after another. */
  async dial(
    netns: string,
    protocol: 'tcp' | 'udp',
    address: string,
    port: number,
    count = 1,
  ): Promise<string[]> {
    const args = [
      `--net=${netns}`,
      process.execPath,
      TALK,
      'dial',
      protocol,
      address,
      String(port),
      String(count),
    ];
    const { stdout } = await run('nsenter', args, { timeout: 60_000 });
    return stdout.trim().split('\n');
  }

  async close(): Promise<void> {
    await Promise.all(this.#talks.map((talk) => talk.stop()));
    for (const host of ['a', 'b'] as const) {
      const last = await this.open(host); // a test may have closed its own
      for (const id of await last.sandboxes()) await last.detach(id);
    }
    for (const network of this.#networks) await network.close();
    for (const host of ['a', 'b', 'client'] as const) removeNetns(this.fabric(host));
    for (const name of ['a', 'b', 'client', 'underlay']) removeNetns(this.host(name));
    rmSync(this.folder, { recursive: true, force: true });
  }

  #talk(netns: string, args: readonly string[]): Talk {
    const talk = new Talk(netns, args);
    this.#talks.push(talk);
    return talk;
  }

  /** `ip link set netns` wants a name below /run/netns or a path; it takes the path. */
  #ofUnderlay(): string {
    return this.host('underlay');
  }
}
