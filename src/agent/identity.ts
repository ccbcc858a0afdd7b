/**
 * Who this node is: key, certificate, root and the managers it knows, kept in one file under the data root so that
 * they can never disagree. A private key never leaves the node.
 */
import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { type Clock, sleep } from '../kit/clock.ts';
import { JsonFile } from '../kit/json-file.ts';
import type { Log } from '../kit/log.ts';
import { SkeinError } from '../model/errors.ts';
import type { ClusterId, NodeId } from '../model/ids.ts';
import type { Availability, NodeRole } from '../model/spec.ts';
import { RpcClient } from '../rpc/client.ts';
import { checkRoot, digestInToken } from '../rpc/join-token.ts';
import type { ManagerAddress } from '../rpc/messages.ts';
import type { IssueAnswer } from '../rpc/methods.ts';
import type { Credentials } from '../rpc/tls.ts';
import { newRequest } from '../rpc/x509.ts';

export interface Identity {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly role: NodeRole;
  readonly credentials: Credentials;
  /** Managers as last heard of; the session keeps them. */
  readonly managers: readonly ManagerAddress[];
}

const FILE: z.ZodType<Identity> = z.strictObject({
  nodeId: z.string(),
  clusterId: z.string(),
  role: z.enum(['manager', 'worker']),
  credentials: z.strictObject({ key: z.string(), certificate: z.string(), ca: z.string() }),
  managers: z.array(z.strictObject({ nodeId: z.string(), addr: z.string() })),
}) as unknown as z.ZodType<Identity>;

/** The file that says which cluster this node is in; without it, it is in none. */
export const identityFile = (path: string): JsonFile<Identity> => new JsonFile(path, FILE);

export interface JoinOptions {
  readonly addrs: readonly string[];
  readonly token: string;
  readonly availability?: Availability | undefined;
  readonly clock: Clock;
  readonly signal?: AbortSignal;
}

/** Asks the managers in turn; a refusal in words ends it, an address that does not answer does not. */
export async function join(options: JoinOptions): Promise<Identity> {
  digestInToken(options.token);
  let failure: unknown = new SkeinError('invalid-argument', 'at least one remote address is needed to join');
  for (const addr of options.addrs) {
    try {
      return await joinAt(addr, options);
    } catch (error) {
      failure = error;
      if (!(error instanceof SkeinError) || error.code !== 'unavailable') throw error;
    }
  }
  throw failure;
}

async function joinAt(addr: string, options: JoinOptions): Promise<Identity> {
  const { token, availability, clock, signal } = options;
  // Nothing is trusted yet: what this connection says is checked against the token's digest.
  const stranger = await RpcClient.connect({ addr, trust: { kind: 'none' }, clock, signal });
  const { ca } = await stranger.call('ca.root', {}, { signal }).finally(() => stranger.close());
  checkRoot(token, ca);
  const client = await RpcClient.connect({ addr, trust: { kind: 'root', ca }, clock, signal });
  try {
    const { key, csr } = await newRequest();
    const answer = await client.call('ca.issue', { csr, token, availability }, { signal });
    const managers = answer.managers.length > 0 ? answer.managers : [{ nodeId: '' as NodeId, addr }];
    return identityFrom({ ...answer, managers }, key);
  } finally {
    client.close();
  }
}

/** A new certificate for a new key, over a connection that the old one opened. */
export async function renew(client: RpcClient, current: Identity, signal?: AbortSignal): Promise<Identity> {
  const { key, csr } = await newRequest();
  const answer = await client.call('ca.issue', { csr }, { signal });
  if (answer.nodeId !== current.nodeId)
    throw new SkeinError('internal', `renewal gave a certificate of node ${answer.nodeId}`);
  return identityFrom(answer, key);
}

function identityFrom(answer: IssueAnswer, key: string): Identity {
  const { nodeId, clusterId, role, managers, certificate, ca } = answer;
  const own = new X509Certificate(certificate);
  if (!own.checkIssued(new X509Certificate(ca)) || !own.verify(new X509Certificate(ca).publicKey))
    throw new SkeinError('failed-precondition', 'the certificate given is not signed by the root');
  return { nodeId, clusterId: clusterId as ClusterId, role, managers, credentials: { key, certificate, ca } };
}

/** When to renew: between 50 % and 80 % of the certificate's life, so that a thousand nodes do not come at once. */
export function renewalTime(certificate: string, random: () => number): number {
  const { validFrom, validTo } = new X509Certificate(certificate);
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
  return from + (to - from) * (0.5 + 0.3 * random());
}

export interface RenewalOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly signal: AbortSignal;
  current(): Identity;
  /** Asks a manager, keeps the new identity and tells listener and session of it. */
  renew(): Promise<Identity>;
}

const CHECK_MS = 3600_000;
const RETRY_MS = 60_000;

/** Renews in time for as long as the signal lasts. Looks at the clock often: a suspended host wakes up late. */
export async function keepRenewed(options: RenewalOptions): Promise<void> {
  const { clock, log, random, signal } = options;
  let due = renewalTime(options.current().credentials.certificate, random);
  while (!signal.aborted) {
    await sleep(clock, Math.min(CHECK_MS, Math.max(0, due - clock.now())), signal);
    if (signal.aborted || clock.now() < due) continue;
    try {
      const fresh = await options.renew();
      // Not sooner than this, be it by a manager whose clock stands far behind.
      due = Math.max(renewalTime(fresh.credentials.certificate, random), clock.now() + RETRY_MS);
      log.info('certificate renewed', { due: new Date(due).toISOString() });
    } catch (error) {
      log.warn('cannot renew the certificate, will try again', { err: error });
      due = clock.now() + RETRY_MS;
    }
  }
}
