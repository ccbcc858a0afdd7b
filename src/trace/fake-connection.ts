/** Connections as the mesh carries them, packet by packet, for the tests of joining: one client, two nodes, two containers. */
import { decode } from './decode.ts';
import { buildFrame, encapsulate, type FrameSpec } from './fake-frame.ts';
import type { Observation } from './observe.ts';

export interface Side {
  readonly ip: string;
  readonly mac: string;
}

export const CLIENT = { ip: '192.0.2.200', mac: '52:54:00:00:02:c8' };
export const NODE = { ip: '192.0.2.11', mac: '52:54:00:00:02:0b' };
export const ENDPOINT = { ip: '10.255.0.2', mac: NODE.mac };
export const NEAR = { ip: '10.255.0.4', mac: '02:aa:00:00:00:04' };
export const FAR = { ip: '10.255.0.5', mac: '02:aa:00:00:00:05' };
export const VTEPS = { source: '192.0.2.11', destination: '192.0.2.12' };
export const BACKENDS = new Set([NEAR.ip, FAR.ip]);
export const ENTRANCE = { address: NODE.ip, port: 80, protocol: 'tcp' } as const;
export const NAMES = {
  addresses: new Map([
    [CLIENT.ip, 'client'],
    [NODE.ip, 'node A'],
    [ENDPOINT.ip, 'ingress endpoint of A'],
    [FAR.ip, 'web.2'],
  ]),
  macs: new Map([[NODE.mac, 'node A uplink']]),
};

export const frame = (
  from: Side,
  to: Side,
  ports: readonly [number, number],
  rest: Partial<FrameSpec> = {},
): Buffer =>
  buildFrame({
    source: from.ip,
    sourceMac: from.mac,
    destination: to.ip,
    destinationMac: to.mac,
    sourcePort: ports[0],
    destinationPort: ports[1],
    ...rest,
  });

/** A clock of packets: each is seen ten microseconds after the last. */
export class Seen {
  #time = 1_000_000_000_000_000_000n;

  /** `spot`: node, interface and direction, as `node1 eth0 in`. */
  at(spot: string, bytes: Buffer): Observation {
    const [point, link, direction] = spot.split(' ') as [string, string, Observation['direction']];
    return { point, link, direction, time: (this.#time += 10_000n), packet: decode(bytes)! };
  }

  wait(milliseconds: number): void {
    this.#time += BigInt(milliseconds) * 1_000_000n;
  }

  /** One packet of the client's to the container, or of the container's back, at each spot of its way. */
  pass(way: 'forward' | 'back', port: number, backend: Side, rest: Partial<FrameSpec>): Observation[] {
    const far = backend === FAR;
    const through = (bytes: Buffer) => (far ? encapsulate(VTEPS, 4096, bytes) : bytes);
    if (way === 'forward') {
      const inside = frame(ENDPOINT, backend, [port + 1, 8080], rest);
      return [
        this.at('node1 eth0 in', frame(CLIENT, NODE, [port, 80], rest)),
        this.at('node1 sk-ingress out', inside),
        ...(far
          ? [this.at('node1 eth0 out', through(inside)), this.at('node2 eth0 in', through(inside))]
          : []),
        this.at(`${far ? 'node2' : 'node1'} fabric/skc-0 out`, inside),
      ];
    }
    const inside = frame(backend, ENDPOINT, [8080, port + 1], rest);
    return [
      this.at(`${far ? 'node2' : 'node1'} fabric/skc-0 in`, inside),
      ...(far ? [this.at('node1 eth0 in', through(inside))] : []),
      this.at('node1 sk-ingress in', inside),
      this.at('node1 eth0 out', frame(NODE, CLIENT, [80, port], rest)),
    ];
  }

  /** The three packets that open it. */
  handshake(port: number, backend: Side, sequence: number): Observation[] {
    const acknowledgement = (sequence + 1) >>> 0;
    return [
      ...this.pass('forward', port, backend, { sequence }),
      ...this.pass('back', port, backend, { flags: ['SYN', 'ACK'], sequence: 9, acknowledgement }),
      ...this.pass('forward', port, backend, { flags: ['ACK'], sequence: acknowledgement }),
    ];
  }
}
