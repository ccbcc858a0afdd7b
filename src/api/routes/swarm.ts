import { type Answer, empty, json } from '../answer.ts';
import { swarmJson, swarmSpecDefaults } from '../convert/swarm.ts';
import { SkeinError } from '../../model/errors.ts';
import { LOCKED, invalid } from '../http-error.ts';
import type { ApiRequest } from '../request.ts';
import type { Route } from '../router.ts';
import { swarmInit, swarmJoin, swarmSpec } from '../schemas/cluster.ts';

const AUTOLOCK = 'autolock is not there yet; the keys of managers are protected by file permissions';

function inspect(request: ApiRequest): Answer {
  const { cluster } = request.cluster().view;
  if (!cluster) throw new SkeinError('unavailable', 'the cluster is being set up, try again');
  return json(swarmJson(cluster));
}

async function init(request: ApiRequest): Promise<Answer> {
  const body = await request.json(swarmInit);
  if (body.AutoLockManagers) throw new SkeinError('unimplemented', AUTOLOCK);
  const id = await request.backends.swarm.init({
    listenAddr: body.ListenAddr,
    advertiseAddr: body.AdvertiseAddr,
    dataPathAddr: body.DataPathAddr,
    dataPathPort: body.DataPathPort,
    addressPools: body.DefaultAddrPool,
    subnetSize: body.SubnetSize,
    forceNewCluster: body.ForceNewCluster,
    availability: availability(body.Availability),
    spec: swarmSpecDefaults(body.Spec),
  });
  return json(id);
}

function availability(given: string): string {
  if (!['', 'active', 'pause', 'drain'].includes(given)) throw invalid(`invalid Availability: "${given}"`);
  return given;
}

async function join(request: ApiRequest): Promise<Answer> {
  const body = await request.json(swarmJoin);
  await request.backends.swarm.join({
    listenAddr: body.ListenAddr,
    advertiseAddr: body.AdvertiseAddr,
    dataPathAddr: body.DataPathAddr,
    remoteAddrs: body.RemoteAddrs,
    joinToken: body.JoinToken,
    availability: availability(body.Availability),
  });
  return empty();
}

async function leave(request: ApiRequest): Promise<Answer> {
  await request.backends.swarm.leave(request.flag('force'));
  return empty();
}

async function update(request: ApiRequest): Promise<Answer> {
  const cluster = request.cluster();
  const version = request.objectVersion('swarm');
  const spec = swarmSpecDefaults(await request.json(swarmSpec));
  if (request.flag('rotateManagerUnlockKey')) throw new SkeinError('unimplemented', AUTOLOCK);
  await cluster.updateSwarm(version, spec, {
    workerToken: request.flag('rotateWorkerToken'),
    managerToken: request.flag('rotateManagerToken'),
  });
  return empty();
}

/** Without autolock there is no key, and Docker answers with an empty one. */
function unlockKey(request: ApiRequest): Answer {
  request.cluster();
  return json({ UnlockKey: '' });
}

function unlock(request: ApiRequest): Answer {
  const { state } = request.backends.swarm.state();
  if (state === 'locked') throw new SkeinError('unavailable', LOCKED);
  throw new SkeinError('failed-precondition', 'swarm is not locked');
}

export const swarmRoutes: readonly Route[] = [
  { method: 'GET', path: '/swarm', handler: inspect },
  {
    method: 'POST',
    path: '/swarm/init',
    handler: init,
    note: 'Autolock, an external CA, settings of Raft and a default log driver are refused.',
  },
  { method: 'POST', path: '/swarm/join', handler: join },
  { method: 'POST', path: '/swarm/leave', handler: leave },
  {
    method: 'POST',
    path: '/swarm/update',
    handler: update,
    note: 'Rotates the join tokens; what init refuses is refused, and a new root.',
  },
  { method: 'GET', path: '/swarm/unlockkey', handler: unlockKey, note: 'Empty: no autolock.' },
  { method: 'POST', path: '/swarm/unlock', handler: unlock, note: 'Always "swarm is not locked".' },
];
