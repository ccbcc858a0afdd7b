/** What `bench mesh` measures of every contender, how often, and in which order. Pure. */
import { rotated } from './figures.ts';
import type { WrkFigures } from './wrk.ts';

export const CONNECTIONS = 32;
export const STREAMS = 4;
/** Connections for the latency: so few that nothing queues for a core, which would be all that is measured. */
export const UNHURRIED = 2;
/** Many short runs: which core client and server are on is decided anew in each, and makes most of a figure. */
export const NEW_RUNS = 12;
export const KEPT_RUNS = 8;
export const LATENCY_RUNS = 16;
export const THROUGHPUT_RUNS = 12;

export interface Quantity {
  readonly quantity: string;
  readonly unit: string;
  readonly lower?: boolean;
  readonly of: (figures: WrkFigures & { readonly busyUs: number }) => number;
}

/** One run of the load program, and what is read from it. */
export interface Measure {
  readonly path: string;
  readonly connections: number;
  readonly threads?: number;
  readonly close?: boolean;
  /** How often in a round. Where it is near its target, or one hiccup of the machine makes it, a few rounds say little. */
  readonly runs: number;
  readonly quantities: readonly Quantity[];
}

export const MEASURES: readonly Measure[] = [
  {
    path: '/',
    connections: CONNECTIONS,
    // One thread is a core's worth of load: what a contender costs would hide on the other core.
    threads: 2,
    close: true,
    runs: NEW_RUNS,
    quantities: [
      { quantity: 'new connections', unit: '1/s', of: (f) => f.requestsPerSecond },
      { quantity: 'processor time a new connection', unit: 'us', lower: true, of: (f) => f.busyUs },
    ],
  },
  {
    path: '/',
    connections: CONNECTIONS,
    runs: KEPT_RUNS,
    quantities: [{ quantity: 'requests on kept connections', unit: '1/s', of: (f) => f.requestsPerSecond }],
  },
  {
    path: '/',
    connections: UNHURRIED,
    runs: LATENCY_RUNS,
    quantities: [{ quantity: 'p99 latency', unit: 'ms', lower: true, of: (f) => f.p99Ms }],
  },
  {
    path: '/big',
    connections: STREAMS,
    runs: THROUGHPUT_RUNS,
    quantities: [{ quantity: 'throughput', unit: 'MB/s', of: (f) => f.megabytesPerSecond }],
  },
];

export interface Run<Target, Contender> {
  readonly target: Target;
  readonly measure: Measure;
  readonly contender: Contender;
}

/** Of a round, side by side what is compared. Who goes first changes: a machine that tires favours nobody. */
export function* runsOf<Target, Contender>(
  targets: readonly Target[],
  contenders: readonly Contender[],
  round: number,
  quick: boolean,
): Generator<Run<Target, Contender>> {
  for (const target of targets)
    for (const measure of MEASURES)
      for (let run = 0; run < (quick ? 1 : measure.runs); run++)
        for (const contender of rotated(contenders, round + run)) yield { target, measure, contender };
}
