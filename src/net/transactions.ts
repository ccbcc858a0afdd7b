/**
 * Who changed the nftables of the node's own namespace. The kernel counts a namespace's transactions (its generation,
 * NFT_MSG_GETGEN); those of this process are counted here, and the rest are others'. As long as others made none, the
 * mesh's table is what it was when it was last read: with 5,000 published ports reading it costs 60 ms.
 *
 * INVARIANT: after a transaction of somebody else `unseen` says so until `saw` is told of a reading that began after it.
 * Where that is in doubt (a transaction of ours failed, or memory is forgotten) everything is unseen.
 */
import { attributes, type NetlinkSocket } from './netlink.ts';
import { head, SUBSYSTEM_NFTABLES } from './nfnetlink.ts';

const GETGEN = 16;
const GENERATION_ID = 1;

export class Transactions {
  readonly #socket: () => NetlinkSocket;
  #own = 0;
  #seen: number | undefined;

  /** `socket`: a netfilter socket of the namespace. */
  constructor(socket: () => NetlinkSocket) {
    this.#socket = socket;
  }

  /** Runs what makes at most so many transactions. One that changes nothing is none for the kernel either. */
  own(atMost: number, run: () => void): void {
    const before = this.#generation();
    try {
      run();
    } catch (error) {
      this.forget();
      throw error;
    }
    this.#own += Math.min(atMost, this.#generation() - before);
  }

  /** A mark of what others had done by now, if it has not been seen. To be asked before the table is read. */
  unseen(): number | undefined {
    const others = this.#generation() - this.#own;
    return others === this.#seen ? undefined : others;
  }

  /** The table was read, and is as it should be with all that others did up to that mark. */
  saw(others: number): void {
    this.#seen = others;
  }

  forget(): void {
    this.#seen = undefined;
  }

  #generation(): number {
    const type = (SUBSYSTEM_NFTABLES << 8) | GETGEN;
    const answer = this.#socket().find(type, head(0), 'ask for the generation of nftables')!;
    return attributes(answer.body, 4).get(GENERATION_ID)!.readUInt32BE();
  }
}
