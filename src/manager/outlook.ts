/**
 * The view as it will be once what a round has planned is written, so that a planner builds on what those before it have
 * just decided and all of it goes into one transaction. Between two rounds it is the view.
 *
 * INVARIANT: nothing foreseen outlives the turn of the event loop in which it was planned: a write that fails leaves no
 * trace here.
 * Cost: a change of the view is indexed twice; a round's drafts are put in and taken out again.
 */
import { timestamp } from '../kit/clock.ts';
import { type Kind, KINDS, type Meta, type Objects } from '../model/objects.ts';
import { Cache } from '../store/cache.ts';
import { anyObject, idOf } from '../store/codec.ts';
import type { AnyObject, Change, Op } from '../store/store.ts';
import type { Transition, View } from '../store/view.ts';

/** Of an object that is not written yet: it comes after all that are. */
const UNWRITTEN = { version: 0, createRevision: Number.MAX_SAFE_INTEGER };

export class Outlook {
  readonly #cache = new Cache();
  #foreseen: Transition[] = [];

  get view(): View {
    return this.#cache;
  }

  /** Takes the whole view over. */
  reset(view: View): void {
    const objects: AnyObject[] = [];
    for (const kind of KINDS)
      for (const object of view.all(kind).values()) objects.push(anyObject(kind, object));
    this.#cache.reset(view.revision, objects);
  }

  /** The view has moved on. */
  follow(transitions: readonly Transition[], revision: number): void {
    this.#cache.apply(revision, transitions.map(towards));
  }

  /** Shows what the operations will have done. */
  foresee(ops: readonly Op[], now: number): readonly Transition[] {
    const transitions = ops.map((op) => this.#transition(op, now));
    this.#cache.apply(this.#cache.revision, transitions.map(towards));
    this.#foreseen.push(...transitions);
    return transitions;
  }

  /** What was foreseen is not there yet. */
  restore(): void {
    for (const transition of this.#foreseen.toReversed())
      this.#cache.apply(this.#cache.revision, [towards(reversed(transition))]);
    this.#foreseen = [];
  }

  #transition(op: Op, now: number): Transition {
    const id = idOf(op);
    const before = this.#cache.get(op.kind, id as never) as Objects[Kind] | undefined;
    const updatedAt = timestamp(now);
    const { version, createRevision, createdAt } = before ?? { ...UNWRITTEN, createdAt: updatedAt };
    const meta: Meta = { version, createRevision, createdAt, updatedAt };
    const after = op.op === 'delete' ? undefined : { ...op.object, ...meta };
    return { kind: op.kind, id, before, after } as unknown as Transition;
  }
}

export const reversed = ({ before, after, ...which }: Transition): Transition =>
  ({ ...which, before: after, after: before }) as Transition;

const towards = ({ kind, id, after }: Transition): Change =>
  (after ? { type: 'put', kind, object: after } : { type: 'delete', kind, id }) as unknown as Change;
