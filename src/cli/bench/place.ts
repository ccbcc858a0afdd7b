/** A place of its own for a contender that runs beside the lab. Whatever runs, is mounted or lies there ends with it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { killAll, removeCgroups, removeRuntimeFiles, unmountBelow } from '../../lab/sweep.ts';
import type { BenchStage } from './stage.ts';

export interface Place {
  readonly folder: string;
  /** Parent of its containers' cgroups. */
  readonly cgroupParent: string;
}

/** To be asked for first: clean-ups run in reverse order, so its owner has let go of everything before it goes. */
export function makePlace(stage: Pick<BenchStage, 'cleanUp'>, name: string): Place {
  const folder = mkdtempSync(join(tmpdir(), `skein-${name}-`));
  stage.cleanUp(async () => {
    await killAll({ folders: [folder], netns: [], cgroup: name });
    unmountBelow([folder]);
    removeRuntimeFiles(folder);
    removeCgroups(name);
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, cgroupParent: `/skein-lab/${name}` };
}
