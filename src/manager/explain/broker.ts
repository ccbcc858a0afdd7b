/**
 * manager/explain: asks a node for its part of a way that is walked without traffic (trace/explain.ts). The leader asks
 * over the node's session, the node answers by a call of `explain.answer` with the same id.
 *
 * INVARIANT: a question ends: by the answer, by the deadline, or at once where the node has no session. One question costs
 * one entry.
 */
import type { Clock } from '../../kit/clock.ts';
import { SkeinError } from '../../model/errors.ts';
import { type Brand, newId, type NodeId, type RandomBytes } from '../../model/ids.ts';
import type { Leg, WalkStart } from '../../rpc/explain.ts';
import type { ToAgent } from '../../rpc/messages.ts';
import type { ParamsOf } from '../../rpc/methods.ts';
import type { Call } from '../../rpc/server.ts';

export interface WalkBrokerOptions {
  readonly clock: Clock;
  readonly random: RandomBytes;
  /** Says it to the node's session; false when it has none. */
  send(node: NodeId, message: ToAgent): boolean;
}

interface Question {
  readonly nodeId: NodeId;
  readonly answer: PromiseWithResolvers<readonly (readonly Leg[])[]>;
}

const ANSWER_MS = 3_000;

export class WalkBroker {
  readonly #options: WalkBrokerOptions;
  readonly #questions = new Map<string, Question>();

  constructor(options: WalkBrokerOptions) {
    this.#options = options;
  }

  async ask(nodeId: NodeId, starts: readonly WalkStart[]): Promise<readonly (readonly Leg[])[]> {
    const { clock, random, send } = this.#options;
    const id = newId<Brand<string, 'WalkId'>>(random);
    const answer = Promise.withResolvers<readonly (readonly Leg[])[]>();
    this.#questions.set(id, { nodeId, answer });
    const cancel = clock.after(ANSWER_MS, () =>
      answer.reject(new SkeinError('unavailable', `no answer within ${ANSWER_MS / 1000} s`)),
    );
    try {
      if (!send(nodeId, { type: 'walk', request: { id, starts } }))
        throw new SkeinError('unavailable', 'it has no session with the managers');
      return await answer.promise;
    } finally {
      cancel();
      this.#questions.delete(id);
    }
  }

  /** Handler of `explain.answer`. */
  async answer({ id, legs, error }: ParamsOf<'explain.answer'>, call: Pick<Call, 'peer'>) {
    const question = this.#questions.get(id);
    if (question?.nodeId !== call.peer?.nodeId)
      throw new SkeinError('not-found', 'nobody asked for this way, or not any more');
    if (legs) question!.answer.resolve(legs);
    else question!.answer.reject(new SkeinError('internal', error ?? 'an empty answer'));
    return {};
  }
}
