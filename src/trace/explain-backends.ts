/** Whom a frontend's rules choose among, whom they pass over, and why. Pure. */
import type { EndpointItem } from '../model/network-view.ts';
import { portKey } from '../net/nft-state.ts';
import type { Frontend } from '../net/state.ts';
import type { Loss } from '../rpc/explain.ts';
import type { WalkedNode } from './explain-node.ts';

interface Candidates {
  readonly service: string;
  /** In words: name, node, why not. */
  readonly passedOver: readonly string[];
}

/** Undefined for a host-mode port, which has one container and no choice. */
export function candidatesOf(frontend: Frontend, node: WalkedNode): Candidates | undefined {
  const { view, managersView } = node;
  for (const { serviceId, name, ingressPorts, virtualIps } of view.services.values()) {
    const networkId =
      frontend.kind === 'vip'
        ? virtualIps.find(({ address }) => address === frontend.address)?.networkId
        : ingressPorts.some(
              (p) => portKey({ protocol: p.Protocol, port: p.PublishedPort ?? 0 }) === portKey(frontend),
            )
          ? [...view.networks.values()].find(({ ingress }) => ingress)?.networkId
          : undefined;
    if (networkId === undefined) continue;
    const endpoints = [...managersView.endpoints].filter(
      ([, e]) => e.serviceId === serviceId && e.networkId === networkId,
    );
    return {
      service: name,
      passedOver: endpoints
        .filter(([key]) => !view.endpoints.get(key)?.inRotation)
        .map(([, endpoint]) => `${shortName(endpoint.name)} on ${whyNot(endpoint, node)}`),
    };
  }
  return undefined;
}

export function refusalOf(frontend: Frontend, node: WalkedNode): Loss {
  const { service = 'the service', passedOver = [] } = candidatesOf(frontend, node) ?? {};
  const text =
    passedOver.length === 0
      ? `no healthy task: service ${service} has no task in rotation`
      : `no task of service ${service} to go to: ${passedOver.join('; ')}`;
  return { code: 'no-backend', text };
}

function whyNot(
  { nodeId, inRotation, notListening, left }: EndpointItem,
  { view, away, managersView }: WalkedNode,
): string {
  const { self } = view;
  const hostname = nodeId === self?.nodeId ? self.hostname : (view.peers.get(nodeId)?.hostname ?? nodeId);
  const since = away.get(nodeId);
  if (!inRotation || managersView === view || since === undefined)
    return `${hostname}: not in rotation (${notListening ? nothingOn(notListening) : (left ?? 'not up yet')})`;
  return `${hostname}: ${hostname} steered away ${(since / 1000).toFixed(1)} s ago`;
}

const nothingOn = (ports: readonly number[]): string =>
  `nothing listens yet on its port${ports.length > 1 ? 's' : ''} ${ports.join(', ')}`;

/** Without the ids of the task and, where it fills a whole node, of that. */
export const shortName = (name: string): string => name.replace(/(\.[0-9a-z]{25})+$/, '');
