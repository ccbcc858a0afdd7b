/**
 * What a lab leaves on disk so that another process finds it: the options it was made from. Everything else follows
 * from the plan or is read from the machine.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { SkeinError } from '../model/errors.ts';
import { DATA_FOLDER, type LabOptions, type LabPlan, labFolders } from './plan.ts';

const stateSchema = z.strictObject({
  version: z.literal(1),
  options: z.strictObject({
    name: z.string(),
    nodes: z.number().int(),
    managers: z.number().int().optional(),
    cluster: z.boolean().optional(),
    mtus: z.record(z.string(), z.number().int()).optional(),
    settings: z.record(z.string(), z.unknown()).optional(),
    addressPools: z.array(z.string()).optional(),
    subnetSize: z.number().int().optional(),
  }),
});

/** Claims the name: of two that try at once, one gets it. */
export function claimState(plan: LabPlan, options: LabOptions): void {
  mkdirSync(plan.dataFolder, { recursive: true });
  const text = `${JSON.stringify({ version: 1, options }, null, 2)}\n`;
  try {
    writeFileSync(plan.stateFile, text, { flag: 'wx' });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
    throw new SkeinError(
      'already-exists',
      `lab ${plan.name} exists; remove it: skein lab down ${plan.name}`,
      {
        cause,
      },
    );
  }
}

/** Options of a lab that exists; throws `not-found` otherwise. */
export function readState(name: string): LabOptions {
  const file = `${labFolders(name).data}/lab.json`;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    throw new SkeinError('not-found', `no such lab: ${name} (start it: skein lab up --name ${name})`, {
      cause,
    });
  }
  const parsed = stateSchema.safeParse(parseJson(text));
  if (!parsed.success)
    throw new SkeinError('failed-precondition', `${file} is damaged; remove the lab: skein lab down ${name}`);
  return parsed.data.options;
}

/** Names of the labs that left a folder, whole or half made. */
export function labNames(): readonly string[] {
  try {
    return readdirSync(DATA_FOLDER).sort();
  } catch {
    return [];
  }
}

/** Writes a file whole or not at all. */
export function writeWhole(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
