import type { NetworkId, ServiceId } from '../../model/ids.ts';
import type { NetworkState } from '../../model/objects.ts';
import type { View } from '../../store/view.ts';
import type { Step } from '../step.ts';
import type { Ids } from '../task.ts';
import type { Book } from './book.ts';

/** What this plan has given out so far, on top of the book. */
export interface Draft {
  readonly view: View;
  readonly book: Book;
  readonly now: number;
  readonly ids: Ids;
  readonly addresses: Map<NetworkId, Set<number>>;
  /** Networks found to have no free address: the next one who asks is told without another search. */
  readonly full: Set<NetworkId>;
  readonly ports: Map<string, ServiceId>;
  /** Services that were given what they ask for: their tasks need not wait. */
  readonly services: Set<ServiceId>;
  readonly macs: Set<string>;
  readonly states: Map<NetworkId, NetworkState>;
  readonly steps: Step[];
  /** Keys that got nothing and must ask again. */
  readonly refused: Set<string>;
}
