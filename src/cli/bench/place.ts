/** A place of its own for a contender that runs beside the lab. Whatever runs, is mounted or lies there ends with it. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takePower } from '../../lab/sweep.ts';
import type { BenchStage } from './stage.ts';

export interface Place {
  readonly folder: string;
  /** Parent of its containers' cgroups. */
  readonly cgroupParent: string;
}

/** To be asked for first: clean-ups run in reverse order, so its owner has let go of everything before it goes. */
export function makePlace(stage: Pick<BenchStage, 'cleanUp'>, name: string): Place {
  const folder = mkdtempSync(join(tmpdir(), `skein-${name}-`));
  const cgroupParent = `/skein-lab/${name}`;
  stage.cleanUp(() => takePower({ folders: [folder], netns: [], cgroup: cgroupParent }, folder));
  return { folder, cgroupParent };
}
