/** Who a container runs as: Docker's `USER[:GROUP]` against the image's own passwd and group files. Pure. */
import { SkeinError } from '../model/errors.ts';

/** The texts of /etc/passwd and /etc/group of an image; empty where it has none. */
export interface UserDatabase {
  readonly passwd: string;
  readonly group: string;
}

export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

const lines = (text: string): string[][] =>
  text
    .split('\n')
    .filter((line) => line.includes(':'))
    .map((line) => line.trim().split(':'));

const MAX_ID = 0x7fffffff;

function asId(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined;
  const id = Number(text);
  if (id > MAX_ID) throw new SkeinError('invalid-argument', `uids and gids must be in range 0-${MAX_ID}`);
  return id;
}

const accounts = (passwd: string): Account[] =>
  lines(passwd).map(([name = '', , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));

const groups = (group: string) =>
  lines(group).map(([name = '', , gid, members = '']) => ({
    name,
    gid: Number(gid),
    members: members.split(','),
  }));

/** A group's number by name or number. */
function groupId(text: string, database: UserDatabase): number {
  const found = groups(database.group).find((g) => g.name === text)?.gid ?? asId(text);
  if (found === undefined)
    throw new SkeinError(
      'invalid-argument',
      `unable to find group ${text}: no matching entries in group file`,
    );
  return found;
}

export function findUser(spec: string, more: readonly string[], database: UserDatabase): User {
  const [userText = '', groupText = ''] = spec.split(':');
  const wanted = userText === '' ? 'root' : userText;
  const number = userText === '' ? 0 : asId(userText);
  const known = accounts(database.passwd);
  // A name that looks like a number is looked up as a name first, as getent does.
  const account = known.find((a) => a.name === wanted) ?? known.find((a) => a.uid === number);
  if (!account && number === undefined)
    throw new SkeinError(
      'invalid-argument',
      `unable to find user ${userText}: no matching entries in passwd file`,
    );
  const gid = groupText === '' ? (account?.gid ?? 0) : groupId(groupText, database);
  const memberships =
    groupText === '' && account ? groups(database.group).filter((g) => g.members.includes(account.name)) : [];
  const additional = [gid, ...memberships.map((g) => g.gid), ...more.map((name) => groupId(name, database))];
  return { uid: account?.uid ?? number!, gid, additionalGids: [...new Set(additional)] };
}
