/** What the tests of a real cluster share: the CLI of each node, the demo image everywhere, requests from anywhere. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { buildImage } from '../../src/lab/image.ts';
import { until, untilAnsweredBy } from '../../src/lab/cluster.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { type NetworkStatus, NetworkStatusFile } from '../../src/net/network-status.ts';
import { DockerCli } from '../docker.ts';

export const IMAGE = 'skein/web:latest';

/** One line of `service ps --no-trunc`, by column. */
export interface TaskLine {
  readonly id: string;
  readonly name: string;
  readonly node: string;
  readonly desired: string;
  readonly state: string;
  readonly error: string;
}

/** Sends one datagram and prints what comes back from where it was sent to, within four seconds. */
const DATAGRAM = `
const socket = require('node:dgram').createSocket('udp4');
setTimeout(() => process.exit(1), 4000);
socket.on('message', (data) => { process.stdout.write(data); process.exit(0); });
socket.connect(Number(process.argv[2]), process.argv[1], () => socket.send('hi'));
`;

/**
 * For a shell: goes on when it is answered, and ends with 1 when it never is. The node of who is asked hears of who asks
 * a moment after its start, and has no way back before.
 */
export const pings = (target: string): string =>
  `for n in 1 2 3 4 5; do ping -c1 -W2 ${target} >/dev/null && break; [ $n -lt 5 ] || exit 1; done`;

export class Stage {
  readonly lab: Lab;
  readonly #clis = new Map<string, DockerCli>();

  constructor(lab: Lab) {
    this.lab = lab;
  }

  docker(node: string): DockerCli {
    let cli = this.#clis.get(node);
    if (!cli) this.#clis.set(node, (cli = new DockerCli(this.lab.node(node).socket, this.lab.enter(node))));
    return cli;
  }

  /** What the CLI of the first manager prints. */
  ok(...args: string[]): Promise<string> {
    return this.docker('node1').ok(...args);
  }

  /** A service whose convergence is looked on at for a short time only. */
  create(name: string, ...args: string[]): Promise<string> {
    const flags = ['--no-resolve-image', '--update-monitor', '300ms', '--name', name];
    return this.ok('service', 'create', ...flags, ...args);
  }

  /** However the test ends its service goes: what one test leaves would fail another. */
  removeAfter(t: TestContext, service: string): void {
    t.after(async () => void (await this.docker('node1').run('service', 'rm', service)));
  }

  close(): void {
    for (const cli of this.#clis.values()) cli.close();
  }

  /**
   * How often a node must be heard of; after three times that it is down, and its tasks run elsewhere. A test that kills
   * daemons and sees tasks run on makes it long: on a busy machine a daemon may come back late.
   */
  async setHeartbeat(seconds: number): Promise<void> {
    await this.docker('node1').ok('swarm', 'update', '--dispatcher-heartbeat', `${seconds}s`);
  }

  async loadImage(): Promise<void> {
    const { tar } = await buildImage();
    await Promise.all(this.lab.plan.nodes.map(({ name }) => this.lab.engine(name).load(tar)));
  }

  async tasks(service: string, manager = 'node1'): Promise<TaskLine[]> {
    const format = '{{.ID}}\t{{.Name}}\t{{.Node}}\t{{.DesiredState}}\t{{.CurrentState}}\t{{.Error}}';
    const out = await this.docker(manager).ok('service', 'ps', '--no-trunc', '--format', format, service);
    return out
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [id, name, node, desired, state, error] = line.split('\t') as [string, ...string[]];
        return { id, name: name!, node: node!, desired: desired!, state: state!, error: error! };
      });
  }

  async running(service: string, manager = 'node1'): Promise<TaskLine[]> {
    const tasks = await this.tasks(service, manager);
    return tasks.filter((t) => t.desired === 'Running' && t.state.startsWith('Running'));
  }

  /** Until a manager serves what managers serve: one whose daemon was started again has its store a moment later. */
  managerAnswers(node = 'node1'): Promise<void> {
    return until(
      `the manager of ${node} to answer`,
      async () => {
        const { code, stderr } = await this.docker(node).run('service', 'ls');
        if (code === 0) return true;
        assert.doesNotMatch(stderr, /not a swarm manager/, 'a manager that starts says that it starts');
        return stderr;
      },
      { timeoutMs: 30_000 },
    );
  }

  /** What the node says of its own network. */
  networkStatus(node: string): NetworkStatus {
    return new NetworkStatusFile(this.lab.node(node).runRoot).status;
  }

  /** Until exactly this many tasks are wanted and run. */
  converged(service: string, count: number, timeoutMs = 30_000, manager = 'node1'): Promise<void> {
    return until(
      `${service} to run ${count} tasks`,
      async () => {
        const tasks = await this.tasks(service, manager);
        const wanted = tasks.filter((t) => t.desired === 'Running');
        const up = wanted.filter((t) => t.state.startsWith('Running'));
        if (up.length === count && wanted.length === count) return true;
        return tasks.map((t) => `${t.name} on ${t.node} ${t.desired}/${t.state} ${t.error}`).join('; ');
      },
      { timeoutMs },
    );
  }

  /** The container that answered over HTTP, through a new connection; undefined when none did. */
  async ask(where: string, address: string, port: number): Promise<string | undefined> {
    const argv = ['busybox', 'wget', '-q', '-O', '-', `http://${address}:${port}/`];
    const { stdout } = await this.lab.exec(where, argv, { accept: [0, 1], timeoutMs: 10_000 });
    return /^container (\S+)/m.exec(stdout)?.[1];
  }

  /** Answers to `times` new connections, by container; those without an answer under ''. */
  async askMany(where: string, address: string, port: number, times: number): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (let i = 0; i < times; i++) {
      const name = (await this.ask(where, address, port)) ?? '';
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  }

  /** Until a published port leads to so many tasks through each address: what runs is in the tables a moment later. */
  async leads(port: number, count: number, ...addresses: readonly string[]): Promise<void> {
    for (const address of addresses)
      await untilAnsweredBy(count, `${address}:${port}`, () => this.ask('client', address, port), {
        timeoutMs: 20_000,
      });
  }

  /** The container that answered a datagram from a new source port. */
  async askUdp(where: string, address: string, port: number): Promise<string | undefined> {
    const argv = [process.execPath, '-e', DATAGRAM, address, String(port)];
    const { stdout } = await this.lab.exec(where, argv, { accept: [0, 1], timeoutMs: 20_000 });
    return /^(\S+) hi/.exec(stdout)?.[1];
  }
}

export { delay };
