/** The named cases of the golden files: each a view and the sandboxes of one node. */
import { interfaceAddress, parseIpv4 } from '../kit/cidr.ts';
import type { NetworkId, ServiceId, Vni } from '../model/ids.ts';
import type { NetworkView } from '../model/network-view.ts';
import {
  addressAfter,
  endpoint,
  hostPort,
  macFor,
  network,
  peer,
  port,
  sandbox,
  service,
  view,
} from './builders.ts';
import type { Facts, SandboxRecord } from './plan.ts';
import { linkNumbers } from './sandbox-plan.ts';

const WEB = 'web' as ServiceId;
const DNS = 'dns' as ServiceId;
const MYNET = 'mynet' as NetworkId;
const PEERS = [peer('b', '192.0.2.5'), peer('c', '192.0.2.6')];
const web = (node: string, task: string, address: string, inRotation = true) =>
  endpoint(node, task, address, { serviceId: WEB, inRotation });

/** The reference capture: three replicas, two here and one on the other node. */
const three = [
  endpoint('a', undefined, '10.255.0.2'),
  endpoint('b', undefined, '10.255.0.3'),
  web('a', 't1', '10.255.0.7'),
  web('b', 't2', '10.255.0.8'),
  web('a', 't3', '10.255.0.9'),
];

function record(n: number, address: string, over: Partial<SandboxRecord> = {}): SandboxRecord {
  const { spec = sandbox(n, address) } = over;
  const gateway = interfaceAddress(parseIpv4(`172.18.0.${n + 1}`), 16);
  return { spec, gateway, hostPorts: [], links: linkNumbers(spec, undefined), keepsClients: false, ...over };
}

const mynetRecord: SandboxRecord = record(3, '10.255.0.9', {
  spec: sandbox(3, '10.255.0.9', {
    attachments: [
      ...sandbox(3, '10.255.0.9').attachments,
      { networkId: MYNET, address: interfaceAddress(parseIpv4('10.0.1.9'), 24), mac: macFor('10.0.1.9') },
    ],
  }),
});

export interface Case {
  readonly view: NetworkView;
  readonly sandboxes: readonly SandboxRecord[];
}

const of = (v: NetworkView, ...sandboxes: readonly SandboxRecord[]): Case => ({ view: v, sandboxes });
const webService = service('web', port(80, 8080));

export const facts: Facts = {
  uplinkMtu: 1500,
  vtep: parseIpv4('192.0.2.4'),
  gateway: interfaceAddress(parseIpv4('172.18.0.1'), 16),
};

export const CASES: Readonly<Record<string, Case>> = {
  'node without networks': of(view({ networks: [], ingress: '' })),
  'ingress before its endpoint': of(view({ ingress: '' })),
  'ingress endpoint alone': of(view()),
  'ingress endpoint with the MAC of the uplink': of(view({ ingressMac: macFor('192.0.2.4') })),
  'three replicas on two nodes': of(
    view({ peers: PEERS.slice(0, 1), endpoints: three, services: [webService] }),
    record(1, '10.255.0.7'),
    record(2, '10.255.0.9'),
  ),
  'one replica out of rotation': of(
    view({
      peers: PEERS,
      endpoints: [...three.slice(0, 4), web('a', 't3', '10.255.0.9', false)],
      services: [webService],
    }),
  ),
  'no replica left': of(
    view({ services: [service('web', port(80, 8080), port(53, 53, { Protocol: 'udp' }))] }),
  ),
  'service with several ports': of(
    view({
      peers: PEERS,
      endpoints: three,
      services: [service('web', port(80, 8080), port(443, 8443), port(53, 53, { Protocol: 'udp' }))],
    }),
  ),
  'same port on TCP and UDP and SCTP': of(
    view({
      peers: PEERS,
      endpoints: three,
      services: [
        service('web', port(53, 53), port(53, 53, { Protocol: 'udp' }), port(53, 53, { Protocol: 'sctp' })),
      ],
    }),
  ),
  'two services': of(
    view({
      peers: PEERS,
      endpoints: [...three, endpoint('c', 'd1', '10.255.0.20', { serviceId: DNS })],
      services: [webService, service('dns', port(5353, 53, { Protocol: 'udp' }))],
    }),
  ),
  'many backends': of(
    view({
      peers: PEERS,
      endpoints: Array.from({ length: 20 }, (_, n) =>
        web(n % 2 ? 'b' : 'c', `t${n}`, addressAfter('10.255.1.0', n)),
      ),
      services: [webService],
    }),
  ),
  'second network with its own MTU': of(
    view({
      peers: PEERS,
      networks: [network('ingress'), network('mynet', { mtu: 1400 })],
      endpoints: [...three, endpoint('b', 't2', '10.0.1.8', { networkId: MYNET })],
      services: [webService],
    }),
    mynetRecord,
  ),
  'virtual IPs on a network': of(
    view({
      peers: PEERS,
      networks: [network('ingress'), network('mynet')],
      endpoints: [
        ...three,
        endpoint('a', 't3', '10.0.1.9', { networkId: MYNET, serviceId: WEB }),
        endpoint('b', 't2', '10.0.1.8', { networkId: MYNET, serviceId: WEB }),
        endpoint('b', 't4', '10.0.1.7', { networkId: MYNET, serviceId: WEB, inRotation: false }),
      ],
      services: [
        { ...webService, virtualIps: [{ networkId: MYNET, address: parseIpv4('10.0.1.2') }] },
        { ...service('idle'), virtualIps: [{ networkId: MYNET, address: parseIpv4('10.0.1.3') }] },
      ],
    }),
    mynetRecord,
  ),
  'clients keep their addresses': of(
    view({
      peers: PEERS,
      endpoints: [...three, endpoint('c', undefined, '10.255.0.4')],
      services: [{ ...webService, preserveClientIp: true }, service('other', port(81, 80))],
    }),
    record(1, '10.255.0.7', {
      spec: sandbox(1, '10.255.0.7', { serviceId: WEB }),
      keepsClients: true,
    }),
  ),
  'VXLAN on another port': of(view({ dataPathPort: 7789, peers: PEERS, endpoints: three })),
  'internal network': of(
    view({
      ingress: '',
      networks: [network('mynet', { internal: true, vni: 5000 as Vni })],
      endpoints: [endpoint('b', 't2', '10.0.1.8', { networkId: MYNET })],
      peers: PEERS,
    }),
    record(1, '10.0.1.7', {
      gateway: undefined,
      spec: sandbox(1, '10.0.1.7', {
        internal: true,
        attachments: [
          { networkId: MYNET, address: interfaceAddress(parseIpv4('10.0.1.7'), 24), mac: macFor('10.0.1.7') },
        ],
      }),
    }),
  ),
  'host mode ports': of(
    view(),
    record(1, '10.255.0.7', {
      hostPorts: [
        port(8000, 80, { PublishMode: 'host' }),
        port(8053, 53, { PublishMode: 'host', Protocol: 'udp' }),
      ],
    }),
  ),
  'host mode ports of one address': of(
    view({ peers: PEERS, endpoints: three, services: [webService] }),
    record(1, '10.255.0.7', {
      hostPorts: [
        hostPort(8000, 80, '127.0.0.1'),
        hostPort(8000, 8080, '192.0.2.4'),
        hostPort(8053, 53, '192.0.2.4', { Protocol: 'udp' }),
      ],
    }),
    // What the service publishes it publishes at this address, too.
    record(2, '10.255.0.9', { hostPorts: [hostPort(80, 80, '127.0.0.1'), hostPort(8000, 80, '127.0.0.2')] }),
  ),
  'published port wins over a host mode port': of(
    view({ peers: PEERS, endpoints: three, services: [webService] }),
    record(1, '10.255.0.7', { hostPorts: [port(80, 8080, { PublishMode: 'host' })] }),
  ),
};
