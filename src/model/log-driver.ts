/**
 * Where a container's output goes: Docker's log drivers and options, and what Skein makes of them. Pure.
 *
 * Output is kept on the node in files of Skein's own, served under the name `json-file`: its options mean what they mean
 * in Docker, except that the default is bounded. A container never waits for its log, whatever `mode` says: what it
 * writes waits on the disk to be recorded, and `max-buffer-size` says how much may.
 */
import { SkeinError } from './errors.ts';
import { checkLogTag, expandLogTag, type LogTagFacts } from './log-tag.ts';
import type { Labels, LogDriverSpec } from './spec.ts';

export type LogPolicy = { readonly kind: 'none' } | FilesPolicy;

/** At most `maxFiles` of `maxFileBytes` each; the oldest goes first. */
export interface FilesPolicy {
  readonly kind: 'files';
  readonly maxFileBytes: number;
  readonly maxFiles: number;
  /** All but the newest are packed (gzip). */
  readonly compress: boolean;
  /** What a container writes faster than it is recorded may wait up to so many bytes; undefined: nobody said. */
  readonly maxBacklogBytes: number | undefined;
}

/** Of a container that says nothing. */
export const DEFAULT_LOG_POLICY: FilesPolicy = {
  kind: 'files',
  maxFileBytes: 10_000_000,
  maxFiles: 3,
  compress: false,
  maxBacklogBytes: undefined,
};

/** What a container of it prints is not kept: there is nothing to read. Throws as `logPolicy` does. */
export const keepsNothing = (driver: LogDriverSpec | undefined): boolean => logPolicy(driver).kind === 'none';

export const UNREADABLE = 'configured logging driver does not support reading';

/** Keys that say which labels and variables of the container `logs --details` shows. */
const ATTRIBUTES = ['labels', 'labels-regex', 'env', 'env-regex'];
const KNOWN = ['max-size', 'max-file', 'compress', 'mode', 'max-buffer-size', 'tag', ...ATTRIBUTES];

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
  const maxFiles = countOf(options);
  return {
    kind: 'files',
    maxFileBytes: maxSize(options['max-size']) ?? DEFAULT_LOG_POLICY.maxFileBytes,
    maxFiles,
    compress: isCompressed(options, maxFiles),
    maxBacklogBytes: bufferSize(options),
  };
}

function checkOptions(options: Readonly<Record<string, string>>): void {
  for (const key of Object.keys(options))
    if (!KNOWN.includes(key)) throw invalid(`unknown log opt '${key}' for json-file log driver`);
  const { mode, tag } = options;
  if (mode && mode !== 'blocking' && mode !== 'non-blocking')
    throw invalid(`logger: logging mode not supported: ${mode}`);
  if (tag) checkLogTag(tag);
  for (const key of ['labels-regex', 'env-regex']) pattern(options[key]);
}

const invalid = (message: string): SkeinError => new SkeinError('invalid-argument', message);

/** `10m`, `1.5 GB`: powers of 1000, or of 1024. */
function sizeOf(text: string, base: 1000 | 1024): number {
  const match = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(text);
  if (!match) throw invalid(`invalid size: '${text}'`);
  return Math.floor(Number(match[1]) * base ** ' kmgtp'.indexOf(match[2]!.toLowerCase() || ' '));
}

/** Decimal, as Docker reads this option. */
function maxSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const bytes = sizeOf(text, 1000);
  if (bytes <= 0) throw invalid('max-size must be a positive number');
  return bytes;
}

/** Binary, as Docker reads this one. */
function bufferSize({ mode, 'max-buffer-size': text }: Readonly<Record<string, string>>): number | undefined {
  if (text === undefined) return undefined;
  if (mode !== 'non-blocking')
    throw invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  try {
    return sizeOf(text, 1024);
  } catch {
    throw invalid(`error parsing option max-buffer-size: invalid size: '${text}'`);
  }
}

const TRUE = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'false', 'False'];

function isCompressed(
  { compress, 'max-size': size }: Readonly<Record<string, string>>,
  maxFiles: number,
): boolean {
  if (compress === undefined || FALSE.includes(compress)) return false;
  if (!TRUE.includes(compress)) throw invalid(`strconv.ParseBool: parsing "${compress}": invalid syntax`);
  if (maxFiles < 2 || size === undefined)
    throw invalid('compress cannot be true when max-file is less than 2 or max-size is not set');
  return true;
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

/** What the log options of a container may speak of. */
export interface LogSubject extends LogTagFacts {
  readonly logging: LogDriverSpec | undefined;
  readonly labels: Labels;
  readonly env: readonly string[];
}

/** What `logs --details` shows of a container: the labels and variables that its log options name, and its tag. */
export function logAttributes({
  logging,
  labels,
  env,
  ...facts
}: LogSubject): Readonly<Record<string, string>> {
  const { Options: options = {} } = logging ?? {};
  const variables = Object.fromEntries(
    env
      .filter((line) => line.includes('='))
      .map((line) => [line.split('=', 1)[0]!, line.replace(/^[^=]*=/, '')]),
  );
  return {
    ...chosen(labels, options['labels'], pattern(options['labels-regex'])),
    ...chosen(variables, options['env'], pattern(options['env-regex'])),
    ...(options['tag'] && { tag: expandLogTag(options['tag'], facts) }),
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
