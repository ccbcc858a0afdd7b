/** The query of the three `logs` endpoints. */
import { invalid } from './http-error.ts';
import type { ApiRequest } from './request.ts';

export interface ParsedLogQuery {
  readonly follow: boolean;
  readonly tail: number | undefined;
  readonly since: string | undefined;
  readonly until: string | undefined;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/** Docker takes any other `tail` of a container for "all", and refuses it of a service. */
export function serviceLogQuery(request: ApiRequest): ParsedLogQuery {
  const tail = request.text('tail');
  if (!/^(\d+|all|)$/.test(tail)) throw invalid('tail value must be a positive integer or "all"');
  return logQuery(request);
}

export function logQuery(request: ApiRequest): ParsedLogQuery {
  const stdout = request.flag('stdout');
  const stderr = request.flag('stderr');
  if (!stdout && !stderr) throw invalid('Bad parameters: you must choose at least one stream');
  const tail = request.text('tail');
  return {
    follow: request.flag('follow'),
    tail: /^\d+$/.test(tail) ? Number(tail) : undefined, // "all", empty, and (as in Docker) anything else
    since: logTime('since', request.text('since')),
    until: logTime('until', request.text('until')),
    stdout,
    stderr,
  };
}

/** Unix seconds with up to nine decimals, or RFC 3339. 0 and empty mean no limit. */
export function logTime(name: string, value: string): string | undefined {
  if (value === '' || value === '0') return undefined;
  const unix = /^(\d{1,11})(?:\.(\d{1,9}))?$/.exec(value);
  if (unix) {
    const date = new Date(Number(unix[1]) * 1000).toISOString().slice(0, 19);
    return `${date}.${(unix[2] ?? '').padEnd(9, '0')}Z`;
  }
  const ms = /^\d{4}-\d\d-\d\dT/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms))
    throw invalid(`invalid value for "${name}": failed to parse value as time or duration: "${value}"`);
  return new Date(ms).toISOString();
}
