/** The leader's loop over the store's members: looks, plans, does, twice a second for as long as it leads. */
import { type Clock, sleep } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { NodeId } from '../../model/ids.ts';
import type { EtcdMembership, EtcdPeer } from '../../store/etcd/membership.ts';
import type { Fence, Store } from '../../store/store.ts';
import type { LiveView } from '../../store/view.ts';
import { draftOf } from '../step.ts';
import { planRoles, type RoleStep, strangers } from './plan.ts';

export interface RolesOptions {
  readonly self: NodeId;
  readonly store: Pick<Store, 'transact' | 'snapshot'>;
  readonly view: LiveView;
  readonly peers: Pick<EtcdMembership, 'list' | 'promote' | 'remove'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly fence: Fence | undefined;
  /** This manager shall lead no more, another one waits to. */
  resign(): void;
}

const ROUND_MS = 500;
/** For one step: a member that does not catch up must not hold up one that is to go. */
const PATIENCE_MS = 5000;

export async function keepRoles(options: RolesOptions, signal: AbortSignal): Promise<void> {
  const { clock } = options;
  while (!signal.aborted) {
    // What one step made possible is done at once: a node whose member has gone should not wait to be told.
    const done = await round(options, signal);
    if (!done) await sleep(clock, ROUND_MS, signal);
  }
}

/** False when nothing was done: nothing is to do, or it cannot be done now. */
async function round(options: RolesOptions, signal: AbortSignal): Promise<boolean> {
  const { view, self, log } = options;
  const later = (error: unknown) => {
    if (!signal.aborted) log.debug('the members of the store cannot be changed yet', { err: error });
  };
  const peers = await listed(options, signal).catch(later);
  let done = false;
  for (const step of peers ? planRoles(view.all('node').values(), peers, self) : []) {
    if (signal.aborted) return false;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
    await run(step, options, patience).then(() => (done = true), later);
  }
  return done;
}

/** A member that nobody seems to claim may be newer than the view. */
async function listed(
  { peers, view, store }: RolesOptions,
  signal: AbortSignal,
): Promise<readonly EtcdPeer[]> {
  const members = await peers.list();
  if (strangers(view.all('node').values(), members).length > 0)
    await view.reached((await store.snapshot(signal)).revision, signal);
  return members;
}

type Executors = {
  readonly [K in RoleStep['kind']]: (
    step: Extract<RoleStep, { kind: K }>,
    options: RolesOptions,
    signal: AbortSignal,
  ) => Promise<void>;
};

const EXECUTORS: Executors = {
  'give-vote': async ({ peer }, { peers, log }, signal) => {
    await peers.promote(peer.id, signal);
    log.info('etcd member has a vote now', { 'node.id': peer.name });
  },
  resign: async (_step, { resign, log }) => {
    log.info('this manager is to be a worker: another one leads');
    resign();
  },
  'remove-member': async ({ peer }, { peers, log }, signal) => {
    await peers.remove(peer.id, signal);
    log.info('etcd member removed', { 'node.id': peer.name, 'etcd.peer': peer.peerUrl });
  },
  unregister: async ({ node }, { store, view, fence, log }, signal) => {
    const object = { ...draftOf<'node'>(node), manager: undefined };
    const revision = await store.transact(
      [{ op: 'update', kind: 'node', object, version: node.version }],
      fence,
    );
    await view.reached(revision, signal);
    log.info('a manager is a worker now', { 'node.id': node.id });
  },
};

const run = (step: RoleStep, options: RolesOptions, signal: AbortSignal): Promise<void> =>
  (EXECUTORS[step.kind] as (step: RoleStep, o: RolesOptions, s: AbortSignal) => Promise<void>)(
    step,
    options,
    signal,
  );
