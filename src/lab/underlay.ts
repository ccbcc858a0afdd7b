/** The segment that the nodes stand on: namespaces, links and the bridge between them, and the ways to cut it. */
import { existsSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import type { RunProcess } from '../kit/process.ts';
import { createNetns, isNetns, removeNetns } from '../kit/netns.ts';
import {
  CUT_RULESET,
  cutPairBatch,
  HEAL_PAIRS,
  isLabNetns,
  type LabPlan,
  NETNS_FOLDER,
  portBatch,
  type Station,
  stationBatch,
  UPLINK,
} from './plan.ts';

export class Underlay {
  readonly #plan: LabPlan;
  readonly #run: RunProcess;

  constructor(plan: LabPlan, run: RunProcess) {
    this.#plan = plan;
    this.#run = run;
  }

  async create(): Promise<void> {
    const { netns, bridge } = this.#plan.underlay;
    createNetns(netns);
    await this.#ip(netns, `link set lo up\nlink add ${bridge} type bridge\nlink set ${bridge} up\n`);
    await this.#nft(CUT_RULESET);
  }

  /** Namespace, link and address of a station; a station that had been cut off stays so. */
  async attach(station: Station, up = true): Promise<void> {
    const underlay = basename(this.#plan.underlay.netns);
    createNetns(station.netns);
    await this.#run([
      ...['ip', 'link', 'add', station.port, 'netns', underlay, 'type', 'veth'],
      ...['peer', 'name', UPLINK, 'netns', basename(station.netns)],
    ]);
    await this.#ip(this.#plan.underlay.netns, portBatch(this.#plan, station, up));
    await this.#ip(station.netns, stationBatch(station));
  }

  /** Takes the link and the namespace away, as a machine that loses power. */
  async detach(station: Station): Promise<void> {
    // The link goes first and in the open: with its namespace it would go later, and its name be taken meanwhile.
    const delPort = ['ip', '-n', basename(this.#plan.underlay.netns), 'link', 'del', station.port];
    await this.#run(delPort, { accept: [0, 1] });
    removeNetns(station.netns);
  }

  isAttached(station: Station): boolean {
    return isNetns(station.netns);
  }

  async isUp(station: Station): Promise<boolean> {
    const { code, stdout } = await this.#run(
      ['ip', '-n', basename(this.#plan.underlay.netns), '-o', 'link', 'show', 'dev', station.port],
      { accept: [0, 1] },
    );
    return code !== 0 || /<[^>]*\bUP\b[^>]*>/.test(stdout);
  }

  setUp(station: Station, up: boolean): Promise<void> {
    return this.#ip(this.#plan.underlay.netns, `link set ${station.port} ${up ? 'up' : 'down'}\n`);
  }

  setPair(a: Station, b: Station, cut: boolean): Promise<void> {
    return this.#nft(cutPairBatch(a, b, cut));
  }

  async healAll(): Promise<void> {
    await this.#nft(HEAL_PAIRS);
    for (const station of [...this.#plan.nodes, this.#plan.client]) await this.setUp(station, true);
  }

  async #ip(netns: string, input: string): Promise<void> {
    await this.#run(['ip', '-n', basename(netns), '-batch', '-'], { input });
  }

  async #nft(input: string): Promise<void> {
    await this.#run(['nsenter', `--net=${this.#plan.underlay.netns}`, 'nft', '-f', '-'], { input });
  }
}

/** Namespaces of a lab as they exist, whatever is known of it. */
export function labNetnsFiles(lab: string): readonly string[] {
  if (!existsSync(NETNS_FOLDER)) return [];
  return readdirSync(NETNS_FOLDER)
    .filter((file) => isLabNetns(lab, file))
    .map((file) => `${NETNS_FOLDER}/${file}`);
}
