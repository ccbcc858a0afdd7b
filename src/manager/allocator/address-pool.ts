/**
 * The addresses of one network. Next-fit: an address given back is not given out again before the rest of the range
 * had its turn, and not before its quarantine is over, so that a stale row somewhere cannot reach a new owner.
 *
 * Cost: one step an allocation while the range is not nearly full.
 */
import type { Cidr, Ipv4 } from '../../model/ids.ts';
import { intToIp, ipToInt, range } from '../../kit/cidr.ts';

export const QUARANTINE_MS = 60_000;

const NOBODY: ReadonlySet<string> = new Set();

export class AddressPool {
  readonly #first: number;
  readonly #last: number;
  /** Address to who has it; several owners only while a conflict is being repaired. */
  readonly #used = new Map<number, Set<string>>();
  readonly #quarantine = new Map<number, number>();
  #cursor: number;

  /** Hands out `subset` of the subnet (all of it unless given), never its network or broadcast address. */
  constructor(subnet: Cidr, subset: Cidr | undefined, reserved: readonly Ipv4[]) {
    const whole = range(subnet);
    const part = subset ? range(subset) : whole;
    this.#first = Math.max(part.first, whole.first + 1);
    this.#last = Math.min(part.last, whole.last - 1);
    this.#cursor = this.#first - 1;
    for (const ip of reserved) this.#used.set(ipToInt(ip), new Set(['reserved']));
  }

  hold(ip: Ipv4, owner: string): void {
    const address = ipToInt(ip);
    const owners = this.#used.get(address);
    if (owners) owners.add(owner);
    else this.#used.set(address, new Set([owner]));
    this.#quarantine.delete(address);
    if (address >= this.#first && address <= this.#last) this.#cursor = address;
  }

  release(ip: Ipv4, owner: string, now: number): void {
    const address = ipToInt(ip);
    const owners = this.#used.get(address);
    if (!owners?.delete(owner) || owners.size > 0) return;
    this.#used.delete(address);
    this.#quarantine.set(address, now + QUARANTINE_MS);
  }

  /** The address was given back at `at`, by somebody whom this pool has not known. */
  remember(ip: Ipv4, at: number): void {
    const address = ipToInt(ip);
    const until = Math.max(at + QUARANTINE_MS, this.#quarantine.get(address) ?? 0);
    if (!this.#used.has(address)) this.#quarantine.set(address, until);
  }

  /** The next free address that is not in `taken`, which it joins; undefined when there is none. */
  next(now: number, taken: Set<number>): Ipv4 | undefined {
    const size = this.#last - this.#first + 1;
    for (let i = 1; i <= size; i++) {
      const address = this.#first + ((this.#cursor - this.#first + i + size) % size);
      if (this.#used.has(address) || taken.has(address)) continue;
      if ((this.#quarantine.get(address) ?? 0) > now) continue;
      this.#quarantine.delete(address);
      this.#cursor = address;
      taken.add(address);
      return intToIp(address);
    }
    return undefined;
  }

  /**
   * Whether an address that is asked for by name can be had, and by whom it is held where not. Quarantine is no
   * hindrance: who names an address has had it before, or knows whose it was.
   */
  holders(ip: Ipv4): ReadonlySet<string> {
    return this.#used.get(ipToInt(ip)) ?? NOBODY;
  }
}
