import { Encoded } from '../../rpc/frame.ts';
import type { Topic } from './plan.ts';
import type { Fragment, Topics } from './topics.ts';

/** The messages of one flush; nodes with the same changed topics share one. */
export class Deltas {
  readonly #topics: Topics;
  readonly #revision: number;
  readonly #fragments = new Map<Topic, Fragment>();
  readonly #shared = new Map<string, Encoded>();

  constructor(topics: Topics, revision: number) {
    this.#topics = topics;
    this.#revision = revision;
  }

  message(
    before: ReadonlySet<Topic>,
    after: ReadonlySet<Topic>,
    dirty: ReadonlySet<Topic>,
  ): Encoded | undefined {
    const changed = [...dirty].filter((topic) => before.has(topic) && after.has(topic));
    const entered = before === after ? [] : [...after].filter((topic) => !before.has(topic));
    const left = before === after ? [] : [...before].filter((topic) => !after.has(topic));
    if (entered.length + left.length > 0)
      return this.#join([
        ...changed.map((topic) => this.#fragment(topic)),
        ...entered.map((topic) => ({ put: this.#topics.full(topic), gone: '' })),
        ...left.map((topic) => ({
          put: '',
          gone: this.#topics
            .keys(topic)
            .map((key) => JSON.stringify(key))
            .join(','),
        })),
      ]);
    if (changed.length === 0) return undefined;
    const name = changed.join(' ');
    let message = this.#shared.get(name);
    if (!message)
      this.#shared.set(name, (message = this.#join(changed.map((topic) => this.#fragment(topic)))));
    return message;
  }

  #fragment(topic: Topic): Fragment {
    let fragment = this.#fragments.get(topic);
    if (!fragment) this.#fragments.set(topic, (fragment = this.#topics.delta(topic)));
    return fragment;
  }

  #join(fragments: readonly Fragment[]): Encoded {
    const put = fragments
      .map((f) => f.put)
      .filter(Boolean)
      .join(',');
    const gone = fragments
      .map((f) => f.gone)
      .filter(Boolean)
      .join(',');
    return new Encoded(`{"type":"delta","revision":${this.#revision},"put":{${put}},"delete":[${gone}]}`);
  }
}
