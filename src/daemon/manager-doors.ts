/** What other nodes may call on a manager, and which of its parts answers. */
import type { Issuer } from '../manager/ca/issuer.ts';
import { joinManager, type ManagerJoinOptions } from '../manager/ca/manager-join.ts';
import type { Attachments } from '../manager/control/attachments.ts';
import type { Dispatcher } from '../manager/dispatcher/dispatcher.ts';
import type { WalkBroker } from '../manager/explain/broker.ts';
import type { LogBroker } from '../manager/logs/broker.ts';
import type { Tracer } from '../manager/trace/tracer.ts';
import { readHostClock } from '../kit/host-clock.ts';
import type { Handlers } from '../rpc/server.ts';

export interface ManagerParts {
  readonly issuer: Issuer;
  readonly joining: ManagerJoinOptions;
  readonly attachments: Attachments;
  readonly dispatcher: Dispatcher;
  readonly logs: LogBroker;
  readonly walks: WalkBroker;
  readonly tracer: Tracer;
}

export const managerDoors = (parts: ManagerParts): Handlers => {
  const { issuer, joining, attachments, dispatcher, logs, walks, tracer } = parts;
  return {
    'ca.root': () => issuer.root(),
    'ca.issue': (request, call) => issuer.issue(request, call),
    'manager.join': (request, call) => joinManager(joining, request, call),
    'network.attach': async (request, call) => ({
      taskId: await attachments.attach(call.peer!.nodeId, request, call.signal),
    }),
    'network.detach': async ({ taskId }, call) => {
      await attachments.detach(call.peer!.nodeId, taskId);
      return {};
    },
    'node.leave': async (_params, call) => {
      await dispatcher.leave(call.peer!.nodeId);
      return {};
    },
    'cluster.managers': async () => ({ managers: [...dispatcher.managers()] }),
    'dispatcher.session': (params, call) => dispatcher.session(params, call),
    'logs.publish': (params, call) => logs.publish(params, call),
    'logs.read': (request, call) => logs.read(request, call.signal),
    'explain.answer': (params, call) => walks.answer(params, call),
    'explain.ask': ({ nodeId, starts }) => walks.ask(nodeId, starts),
    'trace.clock': async () => {
      const { time, boot } = readHostClock();
      return { time: String(time), boot };
    },
    'trace.publish': (params, call) => tracer.publish(params, call),
    'trace.read': (query, call) => tracer.read(query, call.signal),
  };
};
