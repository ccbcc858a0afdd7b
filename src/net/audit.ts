/**
 * The audit of a node's network: whether the kernel holds what stands for it in memory, and whether that is what the
 * view asks for. It looks in pieces, so that a change that comes meanwhile waits for one of them and not for all: with
 * 5,000 published ports a piece takes some 20 ms, all of them 100 and more.
 *
 * INVARIANT: a piece is read and compared at one moment, with what is known at that moment; what changes between two
 * pieces changes in memory and in the kernel. A piece that differs says that and no more: it is for the caller to
 * read back everything at once and to repair it.
 */
import { isCode } from '../model/errors.ts';
import { diff } from './diff-plan.ts';
import { atPlace } from './known-state.ts';
import { diffNft } from './nft-diff-plan.ts';
import { NFT_PARTS, observe } from './observe.ts';
import type { Places } from './places.ts';
import type { Desired } from './plan.ts';
import type { NftState, Place } from './state.ts';
import type { Transactions } from './transactions.ts';

export interface Audited {
  readonly places: Places;
  /** What stands for the kernel now; undefined: nothing does. */
  known(): Desired | undefined;
  /** What the kernel is to hold, planned anew from the node as it is now. */
  planned(): Desired;
  /** Of the root namespace. */
  readonly transactions: Transactions;
}

/** Looks at one piece a step, and says whether it is as it should be: none after one that is not. */
export function* auditPieces({ places, known, planned, transactions }: Audited): Generator<boolean, void> {
  const isRight = (look: (known: Desired) => boolean): boolean => {
    const now = known();
    try {
      return now !== undefined && look(now);
    } catch (error) {
      // A table or namespace that somebody removed cannot be listed.
      if (isCode(error, 'not-found')) return false;
      throw error;
    }
  };
  yield isRight((now) => diff(planned(), now).length === 0);
  for (const place of [...(known()?.netns ?? [])]) {
    yield isRight((now) => !now.netns.has(place) || holdsLinks(places, now, place));
    if (place !== 'root') yield isRight((now) => holdsTable(places, now, place, NFT_PARTS));
  }
  // Of the tables only the mesh's grows with what is published.
  const others = transactions.unseen();
  if (others === undefined) return;
  for (const part of NFT_PARTS) yield isRight((now) => holdsTable(places, now, 'root', [part]));
  transactions.saw(others);
}

function holdsLinks(places: Places, known: Desired, place: Place): boolean {
  const wanted = atPlace(known, place);
  const observed = observe(places, [place], wanted.sysctls.values(), []);
  if (place !== 'root' && place !== 'fabric') places.forget(place);
  return diff({ ...wanted, kept: known.kept }, observed).length === 0;
}

function holdsTable(
  places: Places,
  known: Desired,
  place: Place,
  parts: readonly (typeof NFT_PARTS)[number][],
): boolean {
  const table = known.tables.get(place);
  if (!table) return true;
  const wanted = known.nft.get(place)!;
  const observed = places.withFilter(place, (socket) =>
    parts.reduce<NftState>((seen, read) => ({ ...seen, ...read(socket, place) }), wanted),
  );
  return diffNft(place, table, wanted, observed).length === 0;
}
