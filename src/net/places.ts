/**
 * The namespaces of one node, each with its netlink sockets: opened once inside, used from anywhere. Sockets of
 * sandboxes are not kept, because an open socket would keep the namespace of a removed container alive.
 */
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Clock, systemClock } from '../kit/clock.ts';
import type { ContainerId } from '../model/ids.ts';
import { SkeinError } from '../model/errors.ts';
import { loadKoffi } from '../kit/libc.ts';
import { LibNft } from './libnft.ts';
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket } from './netlink.ts';
import { createNetns, inNetns, isNetns, removeNetns } from '../kit/netns.ts';
import type { Place } from './state.ts';
import { readSysctl, writeSysctl } from './sysctl.ts';

interface Closable {
  close(): void;
}

/** How long a netfilter socket of a sandbox stays open after its use. It keeps the namespace alive no longer. */
const IDLE_MS = 200;

export class Places {
  readonly #folder: string;
  /** The node's own namespace as a path; undefined: the one this process is in. */
  readonly #root: string | undefined;
  readonly #sockets = new Map<Place, NetlinkSocket>();
  /** Netfilter sockets of sandboxes that are done with, until they are closed. */
  readonly #idle = new Set<Closable>();
  readonly #clock: Clock;
  readonly #indexes = new Map<string, number>();
  #filter: NetlinkSocket | undefined;
  #nft: LibNft | undefined;

  constructor(runRoot: string, root?: string, clock: Clock = systemClock) {
    this.#folder = join(runRoot, 'netns');
    this.#root = root;
    this.#clock = clock;
  }

  path(place: Place): string | undefined {
    return place === 'root' ? this.#root : join(this.#folder, place);
  }

  inside<T>(place: Place, fn: () => T): T {
    const path = this.path(place);
    return path === undefined ? fn() : inNetns(path, fn);
  }

  exists(place: Place): boolean {
    const path = this.path(place);
    return path === undefined || isNetns(path);
  }

  create(place: Place): void {
    this.forget(place);
    createNetns(this.path(place)!);
  }

  remove(place: Place): void {
    this.forget(place);
    removeNetns(this.path(place)!);
  }

  /** Containers with a namespace, or with what a killed creator left of one. */
  sandboxes(): ContainerId[] {
    try {
      return readdirSync(this.#folder).filter((name) => /^[0-9a-f]{64}$/.test(name)) as ContainerId[];
    } catch {
      return [];
    }
  }

  /** Whether `sandboxes` would name it. */
  has(id: ContainerId): boolean {
    return existsSync(join(this.#folder, id));
  }

  /** Runs `fn` with an open file of the namespace, which is how a message names another namespace. */
  withFd<T>(place: Place, fn: (fd: number) => T): T {
    const fd = openSync(this.path(place) ?? '/proc/thread-self/ns/net', 'r');
    try {
      return fn(fd);
    } finally {
      closeSync(fd);
    }
  }

  route(place: Place): NetlinkSocket {
    const open = this.#sockets.get(place);
    if (open) return open;
    const socket = this.inside(place, () => new NetlinkSocket(NETLINK_ROUTE));
    this.#sockets.set(place, socket);
    return socket;
  }

  /** A netfilter socket of the place; root's is kept, a sandbox's closed after use. */
  withFilter<T>(place: Place, fn: (socket: NetlinkSocket) => T): T {
    const open = () => this.inside(place, () => new NetlinkSocket(NETLINK_NETFILTER));
    if (place === 'root') return fn((this.#filter ??= open()));
    const socket = open();
    try {
      return fn(socket);
    } finally {
      this.#closeLater(socket);
    }
  }

  /** The language of nft in the place; likewise. */
  withNft<T>(place: Place, fn: (nft: LibNft) => T): T {
    const open = () => this.inside(place, () => new LibNft());
    if (place === 'root') return fn((this.#nft ??= open()));
    const nft = open();
    try {
      return fn(nft);
    } finally {
      this.#closeLater(nft);
    }
  }

  /**
   * Right after a transaction, closing a netfilter socket waits until the kernel has freed what was replaced: eight
   * milliseconds and more in which this process does nothing. A little later it costs nothing.
   */
  #closeLater(socket: Closable): void {
    this.#idle.add(socket);
    this.#clock.after(IDLE_MS, () => this.#idle.delete(socket) && socket.close());
  }

  /** Index of a link. Known ones are kept until the link is made again or the place is read back. */
  index(place: Place, name: string): number {
    const key = `${place}|${name}`;
    const known = this.#indexes.get(key);
    if (known) return known;
    const index = this.inside(place, () => nameToIndex(name));
    if (!index) throw new SkeinError('not-found', `link ${name} does not exist in ${place}`);
    this.#indexes.set(key, index);
    return index;
  }

  /** Indexes as just read back; what is not among them is forgotten. */
  learn(place: Place, links: readonly { readonly name: string; readonly index: number }[]): void {
    this.#forgetIndexes(place);
    for (const { name, index } of links) this.#indexes.set(`${place}|${name}`, index);
  }

  forgetLink(place: Place, name: string): void {
    this.#indexes.delete(`${place}|${name}`);
  }

  /** Closes the place's sockets. Sandboxes are forgotten after each use. */
  forget(place: Place): void {
    this.#sockets.get(place)?.close();
    this.#sockets.delete(place);
    this.#forgetIndexes(place);
  }

  readSysctl(place: Place, key: string): string | undefined {
    return this.inside(place, () => readSysctl(key));
  }

  writeSysctl(place: Place, key: string, value: string): void {
    this.inside(place, () => writeSysctl(key, value));
  }

  close(): void {
    for (const socket of this.#idle) socket.close();
    this.#idle.clear();
    for (const place of [...this.#sockets.keys()]) this.forget(place);
    this.#filter?.close();
    this.#nft?.close();
    this.#filter = this.#nft = undefined;
  }

  #forgetIndexes(place: Place): void {
    for (const key of this.#indexes.keys()) if (key.startsWith(`${place}|`)) this.#indexes.delete(key);
  }
}

let toIndex: ((name: string) => number) | undefined;

function nameToIndex(name: string): number {
  toIndex ??= loadKoffi().load('libc.so.6').func('uint if_nametoindex(str name)') as (name: string) => number;
  return toIndex(name);
}
