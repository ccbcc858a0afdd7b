/** What every part is given: time, chance, log. Built once, in skeind.ts. */
import type { Clock } from '../kit/clock.ts';
import type { Log } from '../kit/log.ts';
import type { RandomBytes } from '../model/ids.ts';
import type { HashText } from '../model/names.ts';

export interface Tools {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: RandomBytes;
  /** SHA-256 as 64 hexadecimal digits. */
  readonly hash: HashText;
}
