/**
 * Secrets and configs as files of a container: which there are, with what in them. Pure. A template is filled from the
 * task, its node, its environment, and the other secrets and configs of the task (by the name of their file, as in
 * Docker).
 */
import { SkeinError } from '../model/errors.ts';
import type { FileTarget } from '../model/spec.ts';
import type { PayloadItem, TaskItem } from '../rpc/messages.ts';
import { expandTemplate, type NodeNames, type TemplateFunctions } from '../model/template.ts';

/** Secrets and configs that this node was given, by id. */
export interface PayloadItems {
  readonly secrets: ReadonlyMap<string, PayloadItem<string>>;
  readonly configs: ReadonlyMap<string, PayloadItem<string>>;
}

export interface PayloadFile {
  /** Absolute, in the container. */
  readonly target: string;
  readonly content: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

interface Reference {
  readonly kind: 'secret' | 'config';
  readonly name: string;
  readonly file: FileTarget;
  readonly item: PayloadItem<string>;
}

/** Throws what a person must mend: a reference to nothing, a template that does not expand. */
export function payloadFiles(task: TaskItem, node: NodeNames, items: PayloadItems): PayloadFile[] {
  const references = referencesOf(task, items);
  const functions = functionsOf(task, references);
  return references.map(({ kind, file, item }) => ({
    target: targetOf(kind, file.Name),
    content: contentOf(item, (text) => expandTemplate(text, task, node, functions)),
    mode: file.Mode,
    uid: idOf(file.UID, 'user'),
    gid: idOf(file.GID, 'group'),
  }));
}

/** Docker's places: secrets below /run/secrets, configs below the root. */
const targetOf = (kind: Reference['kind'], name: string): string =>
  name.startsWith('/') ? name : kind === 'secret' ? `/run/secrets/${name}` : `/${name}`;

function referencesOf(task: TaskItem, { secrets, configs }: PayloadItems): Reference[] {
  const { Secrets = [], Configs = [] } = task.spec.ContainerSpec;
  return [
    ...Secrets.map(({ SecretID, SecretName, File }) => {
      const item = secrets.get(SecretID) ?? missing('secret', SecretName, SecretID);
      return { kind: 'secret' as const, name: SecretName, file: File, item };
    }),
    ...Configs.flatMap(({ ConfigID, ConfigName, File }) => {
      const item = configs.get(ConfigID) ?? missing('config', ConfigName, ConfigID);
      return File ? [{ kind: 'config' as const, name: ConfigName, file: File, item }] : [];
    }),
  ];
}

function missing(kind: Reference['kind'], name: string, id: string): never {
  throw new SkeinError(
    'not-found',
    `${kind} ${name} (${id}) of this task is not there: it was removed, or not sent`,
  );
}

function idOf(text: string, what: 'user' | 'group'): number {
  if (/^\d{1,10}$/.test(text)) return Number(text);
  throw new SkeinError('invalid-argument', `the ${what} of a secret or config must be a number: "${text}"`);
}

const contentOf = (item: PayloadItem<string>, expand: (text: string) => string): Buffer => {
  const data = Buffer.from(item.data, 'base64');
  return item.isTemplate ? Buffer.from(expand(data.toString('utf8'))) : data;
};

function functionsOf(task: TaskItem, references: readonly Reference[]): TemplateFunctions {
  const dataOf = (kind: Reference['kind']) => (target: string) => {
    const found = references.find((r) => r.kind === kind && (r.file.Name === target || r.name === target));
    if (!found) throw new SkeinError('invalid-argument', `${kind} target ${target} not found`);
    return Buffer.from(found.item.data, 'base64').toString('utf8');
  };
  const env = new Map((task.spec.ContainerSpec.Env ?? []).map((line) => split(line)));
  return { secret: dataOf('secret'), config: dataOf('config'), env: (name) => env.get(name) ?? '' };
}

const split = (line: string): [string, string] => {
  const at = line.indexOf('=');
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
};
