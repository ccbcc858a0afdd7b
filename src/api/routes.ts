/** The route table: everything that a client may ask, in the order in which it is matched. docs/api.md is made from it. */
import type { Route } from './router.ts';
import { archiveRoutes } from './routes/archive.ts';
import { attachRoutes } from './routes/attach.ts';
import { containerVerbRoutes } from './routes/container-verbs.ts';
import { containerRoutes } from './routes/containers.ts';
import { execRoutes } from './routes/exec.ts';
import { explainRoutes } from './routes/explain.ts';
import { imageRoutes } from './routes/images.ts';
import { networkRoutes } from './routes/networks.ts';
import { nodeRoutes } from './routes/nodes.ts';
import { refusedRoutes } from './routes/refused.ts';
import { secretRoutes } from './routes/secrets.ts';
import { serviceRoutes } from './routes/services.ts';
import { statsRoutes } from './routes/stats.ts';
import { swarmRoutes } from './routes/swarm.ts';
import { systemRoutes } from './routes/system.ts';
import { taskRoutes } from './routes/tasks.ts';
import { traceRoutes } from './routes/trace.ts';
import { volumeRoutes } from './routes/volumes.ts';

export const routes: readonly Route[] = [
  ...systemRoutes,
  ...swarmRoutes,
  ...nodeRoutes,
  ...networkRoutes,
  ...serviceRoutes,
  ...taskRoutes,
  ...secretRoutes,
  ...containerRoutes,
  ...containerVerbRoutes,
  ...archiveRoutes,
  ...attachRoutes,
  ...statsRoutes,
  ...execRoutes,
  ...imageRoutes,
  ...volumeRoutes,
  ...explainRoutes,
  ...traceRoutes,
  ...refusedRoutes,
];
