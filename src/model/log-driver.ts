/**
 * Where a container's output goes: Docker's log drivers and options, and what Skein makes of them. Pure.
 *
 * Output is kept on the node in files of Skein's own, served under the name `json-file`: its options mean what they mean
 * in Docker, except that the default is bounded. A container never waits for its log (Docker's `mode=non-blocking`).
 */
import { SkeinError } from './errors.ts';
import type { Labels, LogDriverSpec } from './spec.ts';

export type LogPolicy =
  | { readonly kind: 'none' }
  /** At most `maxFiles` of `maxFileBytes` each; the oldest goes first. */
  | { readonly kind: 'files'; readonly maxFileBytes: number; readonly maxFiles: number };

/** Of a container that says nothing. */
export const DEFAULT_LOG_POLICY: LogPolicy & { kind: 'files' } = {
  kind: 'files',
  maxFileBytes: 10_000_000,
  maxFiles: 3,
};

export const UNREADABLE = 'configured logging driver does not support reading';

/** Keys that say which labels and variables of the container `logs --details` shows. */
const ATTRIBUTES = ['labels', 'labels-regex', 'env', 'env-regex'];
const KNOWN = ['max-size', 'max-file', 'compress', 'mode', 'tag', ...ATTRIBUTES];

/** Throws, in words for a person, where the driver or an option can not be honoured. */
export function logPolicy(driver: LogDriverSpec | undefined): LogPolicy {
  const { Name: name = '', Options: options = {} } = driver ?? {};
  if (name === 'none') {
    const [key] = Object.keys(options);
    if (key !== undefined) throw invalid(`unknown log opt '${key}' for none log driver`);
    return { kind: 'none' };
  }
  if (name !== '' && name !== 'json-file')
    throw new SkeinError(
      'unimplemented',
      `log driver "${name}" is not served by Skein: output is kept on the node (json-file), or not at all (none)`,
    );
  checkOptions(options);
  return {
    kind: 'files',
    maxFileBytes: sizeOf(options['max-size']) ?? DEFAULT_LOG_POLICY.maxFileBytes,
    maxFiles: countOf(options),
  };
}

function checkOptions(options: Readonly<Record<string, string>>): void {
  for (const key of Object.keys(options))
    if (!KNOWN.includes(key)) throw invalid(`unknown log opt '${key}' for json-file log driver`);
  const { mode, compress, tag } = options;
  if (mode !== undefined && mode !== 'blocking' && mode !== 'non-blocking')
    throw invalid(`logger: logging mode not supported: ${mode}`);
  if (compress === 'true' || tag)
    throw new SkeinError(
      'unimplemented',
      `log option ${tag ? 'tag' : 'compress'} is not served by Skein; leave it out`,
    );
  for (const key of ['labels-regex', 'env-regex']) pattern(options[key]);
}

const invalid = (message: string): SkeinError => new SkeinError('invalid-argument', message);

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9, t: 1e12, p: 1e15 };

/** `10m`, `1.5 GB`: decimal, as Docker reads this option. */
function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text);
  if (!match) throw invalid(`invalid size: '${text}'`);
  const bytes = Math.floor(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!);
  if (bytes <= 0) throw invalid('max-size must be a positive number');
  return bytes;
}

/** As in Docker, a size alone means one file. */
function countOf({ 'max-file': text, 'max-size': size }: Readonly<Record<string, string>>): number {
  if (text === undefined) return size === undefined ? DEFAULT_LOG_POLICY.maxFiles : 1;
  if (!/^[+-]?\d+$/.test(text)) throw invalid(`invalid max-file: '${text}' is not a number`);
  if (Number(text) < 1) throw invalid('max-file cannot be less than 1');
  return Number(text);
}

function pattern(text: string | undefined): RegExp | undefined {
  if (!text) return undefined;
  try {
    return new RegExp(text);
  } catch {
    throw invalid(`invalid regular expression in a log option: ${text}`);
  }
}

/** What `logs --details` shows of a container: the labels and variables that its log options name. */
export function logAttributes(
  driver: LogDriverSpec | undefined,
  labels: Labels,
  env: readonly string[],
): Readonly<Record<string, string>> {
  const { Options: options = {} } = driver ?? {};
  const variables = Object.fromEntries(
    env
      .filter((line) => line.includes('='))
      .map((line) => [line.split('=', 1)[0]!, line.replace(/^[^=]*=/, '')]),
  );
  return {
    ...chosen(labels, options['labels'], pattern(options['labels-regex'])),
    ...chosen(variables, options['env'], pattern(options['env-regex'])),
  };
}

function chosen(
  values: Readonly<Record<string, string>>,
  names: string | undefined,
  regex: RegExp | undefined,
): Record<string, string> {
  const listed = new Set(names?.split(','));
  return Object.fromEntries(Object.entries(values).filter(([key]) => listed.has(key) || regex?.test(key)));
}
