/** A node with one of everything: peers, two networks, published ports, a virtual IP, and a sandbox on it. */
import type { NetworkId, ServiceId } from '../../src/model/ids.ts';
import { interfaceAddress, parseIpv4 } from '../../src/kit/cidr.ts';
import {
  endpoint,
  hostPort,
  macFor,
  network,
  peer,
  port,
  sandbox,
  service,
  view,
} from '../../src/net/builders.ts';
import type { TwoNodes } from './two-nodes.ts';

export const WEB = 'web' as ServiceId;
const MYNET = 'mynet' as NetworkId;

export const full = view({
  peers: [peer('b', '192.0.2.5'), peer('c', '192.0.2.6')],
  networks: [network('ingress'), network('mynet', { mtu: 1400 })],
  endpoints: [
    endpoint('a', undefined, '10.255.0.2'),
    endpoint('a', 't1', '10.255.0.7', { serviceId: WEB }),
    endpoint('b', 't2', '10.255.0.8', { serviceId: WEB }),
    endpoint('c', 't3', '10.255.0.9', { serviceId: WEB }),
    endpoint('b', 't2', '10.0.1.8', { networkId: MYNET, serviceId: WEB }),
  ],
  services: [
    {
      ...service('web', port(80, 8080), port(53, 53, { Protocol: 'udp' })),
      virtualIps: [{ networkId: MYNET, address: parseIpv4('10.0.1.2') }],
    },
  ],
});
export const box = sandbox(1, '10.255.0.7', {
  hostPorts: [port(8000, 8080, { PublishMode: 'host' }), hostPort(8001, 8080, '127.0.0.1')],
  attachments: [
    ...sandbox(1, '10.255.0.7').attachments,
    { networkId: MYNET, address: interfaceAddress(parseIpv4('10.0.1.7'), 24), mac: macFor('10.0.1.7') },
  ],
});

/** That node of the lab. */
export async function fullNode(lab: TwoNodes) {
  const a = await lab.open('a');
  await a.apply(full);
  const inside = (await a.attach(box)).netnsPath;
  return { a, root: lab.host('a'), fabric: lab.fabric('a'), inside };
}
