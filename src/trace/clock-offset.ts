/** How far this node's clock is from the leader's, by asking it a few times; the quickest answer tells most. */
import type { HostClock } from '../kit/host-clock.ts';

export interface ClockOffset {
  /** To be added to this node's times; nanoseconds. */
  readonly offset: bigint;
  readonly uncertainty: bigint;
}

const ASKED = 5;

export async function measureOffset(
  local: () => HostClock,
  leader: () => Promise<{ readonly time: string; readonly boot: string }>,
): Promise<ClockOffset> {
  let best: ClockOffset | undefined;
  for (let i = 0; i < ASKED; i++) {
    const asked = local();
    const answer = await leader();
    const heard = local();
    // One kernel: one clock, however long the question took.
    if (answer.boot === asked.boot) return { offset: 0n, uncertainty: 0n };
    const uncertainty = (heard.time - asked.time) / 2n;
    const offset = BigInt(answer.time) - (asked.time + uncertainty);
    if (!best || uncertainty < best.uncertainty) best = { offset, uncertainty };
  }
  return best!;
}
