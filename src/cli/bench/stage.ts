/** What every benchmark is given: a lab it may bring up, how long it may take, where to say how far it is. */
import type { Lab, LabTools } from '../../lab/lab.ts';
import type { LabOptions } from '../../lab/plan.ts';
import type { BenchResult } from './figures.ts';

export interface BenchStage {
  readonly rounds: number;
  /** Seconds of each single measurement. */
  readonly seconds: number;
  /** A smoke run: everything is done, nothing is measured well. */
  readonly quick: boolean;
  readonly progress: (text: string) => void;
  readonly signal: AbortSignal;
  /** Brings a lab up that is taken down whatever happens. */
  lab(options: Omit<LabOptions, 'name'>, tools?: Partial<LabTools>): Promise<Lab>;
  /** Run when the benchmark has ended, in reverse order. */
  cleanUp(undo: () => Promise<void> | void): void;
}

/**
 * One file a benchmark; `skein bench NAME` runs one, `skein bench` all. To be trusted, a benchmark interleaves its
 * contenders round by round, and says what it could not measure instead of leaving it out.
 */
export interface Benchmark {
  readonly name: string;
  readonly description: string;
  run(stage: BenchStage): Promise<BenchResult>;
}
