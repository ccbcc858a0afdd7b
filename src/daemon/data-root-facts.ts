/** What `skein doctor` reads of a node's data root, whether or not its daemon runs. */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { identityFile } from '../agent/identity.ts';
import { diskOf } from '../agent/image-collector.ts';
import type { DoctorFacts } from '../net/doctor-plan.ts';

export async function dataRootFacts(dataRoot: string): Promise<Pick<DoctorFacts, 'certificate' | 'disk'>> {
  const disk = existsSync(dataRoot) ? await diskOf(dataRoot) : undefined;
  return { certificate: certificateIn(dataRoot), disk: disk && 1 - disk.free / disk.total };
}

function certificateIn(dataRoot: string): DoctorFacts['certificate'] {
  const identity = identityFile(join(dataRoot, 'cluster', 'identity.json')).read();
  if (!identity) return undefined;
  const { validFrom, validTo } = new X509Certificate(identity.credentials.certificate);
  return { from: Date.parse(validFrom), to: Date.parse(validTo) };
}
