/**
 * Health checks: what is probed, when the next probe is due, and what its result means. Pure; the rules and the words
 * are Docker's: a container is `starting` until a probe succeeds, failures within the start period do not count, and
 * `retries` failures in a row make it unhealthy.
 */
import type { HealthSpec } from '../model/spec.ts';
import { overAt, timestamp } from '../kit/clock.ts';

export interface HealthCheck {
  readonly argv: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly startPeriodMs: number;
  /** Between probes while it starts, within the start period. */
  readonly startIntervalMs: number;
  readonly retries: number;
}

export interface Probe {
  readonly startedMs: number;
  readonly endedMs: number;
  /** 0 is healthy; -1: it could not be run, or not to its end. */
  readonly exitCode: number;
  readonly output: string;
}

/** Kept on disk by the agent, so that a restart of it loses no count. */
export interface Health {
  readonly status: 'starting' | 'healthy' | 'unhealthy';
  readonly failingStreak: number;
  /** When the container was first seen running (ms). */
  readonly since: number;
  /** The last LOG_LENGTH, oldest first. */
  readonly log: readonly Probe[];
}

const LOG_LENGTH = 5;
export const MAX_OUTPUT = 4096;
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;

/** A service's health check over its image's, field by field: an empty test is the image's, 0 the image's value. */
export function mergeHealth(
  own: HealthSpec | undefined,
  image: HealthSpec | undefined,
): HealthSpec | undefined {
  if (!own || !image) return own ?? image;
  const given = Object.entries(own).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value));
  return { ...image, ...Object.fromEntries(given) };
}

/** Undefined: there is none, or it is switched off (`NONE`, --no-healthcheck). */
export function healthCheckOf(spec: HealthSpec | undefined): HealthCheck | undefined {
  const [kind, ...rest] = spec?.Test ?? [];
  const argv = kind === 'CMD' ? rest : kind === 'CMD-SHELL' ? ['/bin/sh', '-c', rest.join(' ')] : [];
  if (!spec || argv.length === 0) return undefined;
  const ms = (nanoseconds: number | undefined, otherwise: number) =>
    nanoseconds ? nanoseconds / 1e6 : otherwise;
  return {
    argv,
    intervalMs: ms(spec.Interval, DEFAULT_INTERVAL_MS),
    timeoutMs: ms(spec.Timeout, DEFAULT_TIMEOUT_MS),
    startPeriodMs: ms(spec.StartPeriod, 0),
    startIntervalMs: ms(spec.StartInterval, DEFAULT_START_INTERVAL_MS),
    retries: spec.Retries || DEFAULT_RETRIES,
  };
}

export const newHealth = (now: number, status: Health['status'] = 'starting'): Health => ({
  status,
  failingStreak: 0,
  since: now,
  log: [],
});

export function nextProbeAt(check: HealthCheck, health: Health, now: number): number {
  const last = health.log.at(-1)?.endedMs ?? health.since;
  return overAt(last, starts(check, health, last) ? check.startIntervalMs : check.intervalMs, now);
}

/** At that moment its start period went on, and nothing had been good yet. */
const starts = ({ startPeriodMs }: HealthCheck, { status, since }: Health, at: number): boolean =>
  status === 'starting' && overAt(since, startPeriodMs, at) > at;

export function afterProbe(check: HealthCheck, health: Health, probe: Probe): Health {
  const log = [...health.log, probe].slice(-LOG_LENGTH);
  if (probe.exitCode === 0) return { ...health, status: 'healthy', failingStreak: 0, log };
  const failingStreak = health.failingStreak + (starts(check, health, probe.startedMs) ? 0 : 1);
  const status = failingStreak >= check.retries ? 'unhealthy' : health.status;
  return { ...health, status, failingStreak, log };
}

export function exceeded(timeoutMs: number, output: string): string {
  const seconds = timeoutMs / 1000;
  const whole = seconds < 1 ? `${timeoutMs}ms` : seconds < 60 ? `${seconds}s` : minutes(seconds);
  return `Health check exceeded timeout (${whole})${output === '' ? '' : `: ${output}`}`;
}

const minutes = (seconds: number): string =>
  seconds < 3600
    ? `${Math.floor(seconds / 60)}m${seconds % 60}s`
    : `${Math.floor(seconds / 3600)}h${minutes(seconds % 3600)}`;

/** As `docker inspect` shows it. */
export interface HealthReport {
  readonly Status: Health['status'];
  readonly FailingStreak: number;
  readonly Log: readonly object[];
}

/** Before the first probe there is nothing on disk. */
export const healthReport = (health: Health | undefined): HealthReport => ({
  Status: health?.status ?? 'starting',
  FailingStreak: health?.failingStreak ?? 0,
  Log: (health?.log ?? []).map(({ startedMs, endedMs, exitCode, output }) => ({
    Start: timestamp(startedMs),
    End: timestamp(endedMs),
    ExitCode: exitCode,
    Output: output,
  })),
});
