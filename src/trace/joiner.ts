/**
 * `joinConnections` while the capture runs: gives each connection once, as soon as it has ended, is silent, or has
 * lasted for a while. Packets of one connection come from several nodes, in batches that overtake each other.
 *
 * INVARIANT: packets are kept until their connection is given out or found to be none, never longer; of what was given
 * out only its key stays, so that its later packets make no second connection.
 */
import { type Translation, tupleKey } from './conntrack.ts';
import type { Connection } from './connection.ts';
import { flowKey, isSyn } from './flow.ts';
import { type JoinFacts, joinConnections } from './join.ts';
import type { Observation } from './observe.ts';

/** What was heard of one flow, and when, by the caller's clock in milliseconds. */
interface Pending {
  readonly seen: Observation[];
  readonly since: number;
  last: number;
  /** Ends that have said FIN; a reset says it for both. */
  readonly finished: Set<string>;
}

interface Done {
  readonly isn: number | undefined;
  last: number;
}

/** After its end: what the other nodes saw of it is on its way. */
const ENDED_MS = 400;
/** Longer than TCP waits for the answer to a first packet. */
const SILENT_MS = 1_500;
const LONGEST_MS = 5_000;
/** A UDP flow that was silent for so long is another one, as connection tracking sees it, too. */
const FORGET_UDP_MS = 30_000;

export class Joiner {
  readonly #facts: () => JoinFacts;
  readonly #pending = new Map<string, Pending>();
  readonly #translations = new Map<string, Translation>();
  readonly #done = new Map<string, Done>();
  #midway = 0;

  constructor(facts: () => JoinFacts) {
    this.#facts = facts;
  }

  /** Flows that were not shown, because they were open before the capture. */
  get midway(): number {
    return this.#midway;
  }

  learn(translations: readonly Translation[]): void {
    for (const translation of translations) this.#translations.set(tupleKey(translation.after), translation);
  }

  add(observations: readonly Observation[], now: number): void {
    for (const seen of observations) {
      const key = flowKey(seen.packet);
      if (key === undefined || this.#wasGiven(key, seen, now)) continue;
      let pending = this.#pending.get(key);
      if (!pending) {
        pending = { seen: [], since: now, last: now, finished: new Set() };
        this.#pending.set(key, pending);
      }
      pending.seen.push(seen);
      pending.last = now;
      const { tcp, source, destination } = seen.packet;
      if (tcp?.flags.includes('FIN') || tcp?.flags.includes('RST'))
        pending.finished.add(`${source.ip} ${source.port}`);
      if (tcp?.flags.includes('RST')) pending.finished.add(`${destination.ip} ${destination.port}`);
    }
  }

  /** What is complete at this time; with `all` what there is. In the order in which they began. */
  take(now: number, all = false): readonly Connection[] {
    const ready = new Set(
      [...this.#pending].filter(([, flow]) => all || isReady(flow, now)).map(([key]) => key),
    );
    if (ready.size === 0) return [];
    const given = joinConnections({
      ...this.#facts(),
      observations: [...this.#pending.values()].flatMap(({ seen }) => seen),
      translations: [...this.#translations.values()],
    }).filter(({ flows }) => flows.every(({ key }) => ready.has(key)));
    for (const { flows } of given)
      for (const { key, isn, tuple } of flows) {
        this.#pending.delete(key);
        this.#translations.delete(tupleKey(tuple));
        this.#done.set(key, { isn, last: now });
      }
    this.#dropStrangers(now, all);
    return given;
  }

  #wasGiven(key: string, { packet }: Observation, now: number): boolean {
    const done = this.#done.get(key);
    if (!done) return false;
    const another =
      packet.protocol === 'udp'
        ? now - done.last > FORGET_UDP_MS
        : isSyn(packet) && packet.tcp!.sequence !== done.isn;
    done.last = now;
    if (another) this.#done.delete(key);
    return !another;
  }

  /** Flows that have had their time and are part of no connection that is traced. */
  #dropStrangers(now: number, all: boolean): void {
    for (const [key, { seen, since }] of this.#pending) {
      if (!all && now - since < 2 * LONGEST_MS) continue;
      this.#pending.delete(key);
      if (this.#isMidway(seen)) this.#midway++;
      this.#done.set(key, { isn: undefined, last: now });
    }
  }

  #isMidway(seen: readonly Observation[]): boolean {
    const { backends } = this.#facts();
    const [{ packet } = { packet: undefined }] = seen;
    if (packet?.protocol !== 'tcp' || seen.some((s) => isSyn(s.packet))) return false;
    return backends.has(packet.source.ip) || backends.has(packet.destination.ip);
  }
}

function isReady({ since, last, finished }: Pending, now: number): boolean {
  if (finished.size === 2 && now - last >= ENDED_MS) return true;
  return now - last >= SILENT_MS || now - since >= LONGEST_MS;
}
