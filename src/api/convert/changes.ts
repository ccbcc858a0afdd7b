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
    const [, name = '', words = ''] = /^\s*(\w+)\s+(\S[^]*?)\s*$/.exec(change) ?? [];
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

/** `KEY=VALUE ...`, values in double quotes if they have spaces, or `KEY VALUE` of one. */
function pairs(words: string): (readonly [string, string])[] {
  if (/^(?:[^\s=]+=(?:"(?:[^"\\]|\\.)*"|\S*)(?:\s+|$))+$/.test(words))
    return [...words.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|\S*)/g)].map(
      ([, key, value]) => [unquoted(key!), unquoted(value!)] as const,
    );
  const one = /^([^\s=]+)\s+([^]+)$/.exec(words);
  if (!one) throw invalid(`Syntax error - can't find = in "${words}". Must be of the form: name=value`);
  return [[one[1]!, one[2]!]];
}

const unquoted = (value: string): string =>
  /^".*"$/s.test(value) ? value.slice(1, -1).replaceAll(/\\(.)/g, '$1') : value;
