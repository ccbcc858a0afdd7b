/** Names for containers that were given none: two words, as Docker's. Pure. */
import { SkeinError } from '../model/errors.ts';
import type { ContainerId } from '../model/ids.ts';

const FIRST =
  'amber brave calm deft eager fair glad keen lucid merry neat proud quiet swift vivid wise'.split(' ');
const SECOND =
  'arkwright cartwright comber dyer fuller heddle jacquard lister reeler shuttle spinner tailor weaver webb webster yarn'.split(
    ' ',
  );

export const nameTaken = (name: string, holder: ContainerId): SkeinError =>
  new SkeinError(
    'already-exists',
    `Conflict. The container name "/${name}" is already in use by container "${holder}". You have to remove (or rename) that container to be able to reuse that name.`,
  );

/** `pick` gives a number in [0, 1); a taken name gets a number behind it. */
export function standaloneName(taken: ReadonlySet<string>, pick: () => number): string {
  const of = (words: readonly string[]) => words[Math.floor(pick() * words.length)]!;
  const name = `${of(FIRST)}_${of(SECOND)}`;
  for (let n = 0; ; n++) {
    const candidate = n === 0 ? name : `${name}${n}`;
    if (!taken.has(candidate)) return candidate;
  }
}
