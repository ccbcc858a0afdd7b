import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InterfaceAddress, NetworkId } from '../../model/ids.ts';
import type { PortSpec } from '../../model/spec.ts';
import { image, service, spec } from '../testing/builders.ts';
import { servicePlacements } from './plan.ts';

const [INGRESS, NET] = ['ingress', 'net'] as [NetworkId, NetworkId];

test('the mesh is told of the ports that it publishes, on the ingress network alone, and of none of host mode', () => {
  const port = (PublishMode: PortSpec['PublishMode'], PublishedPort: number): PortSpec => ({
    ...{ Protocol: 'tcp', TargetPort: 80 },
    PublishMode,
    PublishedPort,
  });
  const [mesh, host] = [port('ingress', 8080), port('host', 8081)];
  const virtualIps = [INGRESS, NET].map((networkId, i) => ({
    networkId,
    address: `10.${i}.0.5/24` as InterfaceAddress,
  }));
  const placements = servicePlacements(
    service({
      spec: spec({ TaskTemplate: { ...image('web:1'), Networks: [{ Target: NET }] } }),
      endpoint: { spec: {}, ports: [mesh, host], virtualIps },
    }),
    { dataPathPort: 4789, ingress: INGRESS },
  );
  const told = placements.map(({ topic, item }) => [
    topic,
    item.kind === 'service' && item.value.ingressPorts,
  ]);
  assert.deepEqual(told, [
    ['network:ingress', [mesh]],
    ['network:net', []],
  ]);
});
