/** `--change` of `docker import`: instructions as in a Dockerfile, of which each changes the image's configuration. Pure. */
import { invalid } from '../http-error.ts';

interface Changed {
  Cmd?: readonly string[];
  Entrypoint?: readonly string[];
  Env?: readonly string[];
  ExposedPorts?: Readonly<Record<string, object>>;
  Labels?: Readonly<Record<string, string>>;
  StopSignal?: string;
  User?: string;
  Volumes?: Readonly<Record<string, object>>;
  WorkingDir?: string;
}

type Apply = (words: string, so: Changed) => Changed;

const INSTRUCTIONS: Readonly<Record<string, Apply>> = {
  CMD: (words) => ({ Cmd: command(words) }),
  ENTRYPOINT: (words) => ({ Entrypoint: command(words) }),
  ENV: (words, { Env = [] }) => {
    const set = pairs(words);
    const named = (entry: string) => entry.slice(0, entry.indexOf('='));
    const kept = Env.filter((entry) => !set.some(([key]) => key === named(entry)));
    return { Env: [...kept, ...set.map(([key, value]) => `${key}=${value}`)] };
  },
  EXPOSE: (words, { ExposedPorts }) => {
    const ports = words.split(/\s+/).map((port) => {
      if (!/^\d+(\/(tcp|udp|sctp))?$/.test(port)) throw invalid(`invalid containerPort: ${port}`);
      return [port.includes('/') ? port : `${port}/tcp`, {}] as const;
    });
    return { ExposedPorts: { ...ExposedPorts, ...Object.fromEntries(ports) } };
  },
  LABEL: (words, { Labels }) => ({ Labels: { ...Labels, ...Object.fromEntries(pairs(words)) } }),
  STOPSIGNAL: (words) => ({ StopSignal: words }),
  USER: (words) => ({ User: words }),
  VOLUME: (words, { Volumes }) => {
    const paths = list(words) ?? words.split(/\s+/);
    return { Volumes: { ...Volumes, ...Object.fromEntries(paths.map((path) => [path, {}])) } };
  },
  WORKDIR: (words) => ({ WorkingDir: words }),
};

export function changedConfig(changes: readonly string[]): Readonly<Record<string, unknown>> {
  let config: Changed = {};
  for (const change of changes) {
    const [, name = '', words = ''] = /^(\w+)\s+([^]+)$/.exec(change.trim()) ?? [];
    const apply = INSTRUCTIONS[name.toUpperCase()];
    if (!apply)
      throw invalid(
        `${change.trim()} is no change that can be made: ${Object.keys(INSTRUCTIONS).join(', ')}`,
      );
    config = { ...config, ...apply(words, config) };
  }
  return { ...config };
}

/** `["a", "b"]`; undefined: it is not in this form. */
function list(words: string): readonly string[] | undefined {
  try {
    const value: unknown = JSON.parse(words);
    return Array.isArray(value) && value.every((one): one is string => typeof one === 'string')
      ? value
      : undefined;
  } catch {
    return undefined;
  }
}

const command = (words: string): readonly string[] => list(words) ?? ['/bin/sh', '-c', words];

const PAIR = /([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)(?:\s+|$)/y;

/** `KEY=VALUE ...`, values in double quotes if they have spaces, or `KEY VALUE` of one. */
function pairs(words: string): readonly (readonly [string, string])[] {
  const all = pairsOf(words);
  if (all) return all;
  const one = /^([^\s=]+)\s+([^]+)$/.exec(words);
  if (!one) throw invalid(`Syntax error - can't find = in "${words}". Must be of the form: name=value`);
  return [[one[1]!, one[2]!]];
}

/** Pair by pair, none looked at again: in one expression what is wrong at the end costs twice as much a pair. */
function pairsOf(words: string): readonly (readonly [string, string])[] | undefined {
  const found: (readonly [string, string])[] = [];
  for (let at = 0; at < words.length; at = PAIR.lastIndex) {
    PAIR.lastIndex = at;
    const [, key, value] = PAIR.exec(words) ?? [];
    if (key === undefined) return undefined;
    found.push([unquoted(key), unquoted(value!)]);
  }
  return found;
}

const unquoted = (value: string): string =>
  /^".*"$/s.test(value) ? value.slice(1, -1).replaceAll(/\\(.)/g, '$1') : value;
