/**
 * What this node was told when it became a member and needs again at each start: beside the identity, which says who
 * it is. Written before anything of the membership runs, so a daemon killed in between either finishes joining or is
 * in no cluster.
 */
import { z } from 'zod';
import { JsonFile } from '../kit/json-file.ts';
import type { Ipv4 } from '../model/ids.ts';

export interface Membership {
  /** `address:port` that a manager listens on. */
  readonly listenAddr: string;
  readonly advertiseAddr: Ipv4;
  /** Port of the control listener, as advertised. */
  readonly port: number;
  readonly dataPathAddr: Ipv4;
}

const FILE = z.strictObject({
  listenAddr: z.string(),
  advertiseAddr: z.ipv4(),
  port: z.number().int(),
  dataPathAddr: z.ipv4(),
}) as unknown as z.ZodType<Membership>;

export const membershipFile = (path: string): JsonFile<Membership> => new JsonFile(path, FILE);
