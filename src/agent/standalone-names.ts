/** Names of a user's own containers: no two have the same; who was given none has two words, as in Docker. */
import type { ContainerRuntime } from '../containerd/runtime.ts';
import { KeyedLocks } from '../kit/keyed-locks.ts';
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';

const FIRST =
  'amber brave calm deft eager fair glad keen lucid merry neat proud quiet swift vivid wise'.split(' ');
const SECOND =
  'arkwright cartwright comber dyer fuller heddle jacquard lister reeler shuttle spinner tailor weaver webb webster yarn'.split(
    ' ',
  );

const nameTaken = (name: string, holder: ContainerId): SkeinError =>
  new SkeinError(
    'already-exists',
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  );

/** `pick` gives a number in [0, 1); a taken name gets a number behind it. */
function standaloneName(taken: ReadonlySet<string>, pick: () => number): string {
  const of = (words: readonly string[]) => words[Math.floor(pick() * words.length)]!;
  const name = `${of(FIRST)}_${of(SECOND)}`;
  for (let n = 0; ; n++) {
    const candidate = n === 0 ? name : `${name}${n}`;
    if (!taken.has(candidate)) return candidate;
  }
}

interface StandaloneNamesOptions {
  readonly runtime: Pick<ContainerRuntime, 'list'>;
  readonly random: () => number;
}

export class StandaloneNames {
  readonly #options: StandaloneNamesOptions;
  readonly #naming = new KeyedLocks<'name'>();
  /** Given out to containers which are not there to be seen yet. */
  readonly #given = new Map<string, ContainerId>();

  constructor(options: StandaloneNamesOptions) {
    this.#options = options;
  }

  /** Gives a container a name that no other has, by `work`; where none is wanted, one that is made up. */
  async give<T>(id: ContainerId, wanted: string, work: (name: string) => Promise<T>): Promise<T> {
    const name = await this.#naming.run('name', () => this.#freeName(id, wanted));
    try {
      return await work(name);
    } finally {
      this.#given.delete(name);
    }
  }

  async #freeName(id: ContainerId, wanted: string): Promise<string> {
    const { runtime, random } = this.#options;
    // Before the list: what is there by the end of it may not be in it.
    const taken = new Map(this.#given);
    for (const info of await runtime.list()) taken.set(info.name, info.id);
    const holder = taken.get(wanted);
    if (wanted !== '' && holder !== undefined) throw nameTaken(wanted, holder);
    const name = wanted || standaloneName(new Set(taken.keys()), random);
    this.#given.set(name, id);
    return name;
  }
}
