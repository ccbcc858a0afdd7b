/**
 * How long a node takes to read its network back from the kernel and to compare it with the plan, by the number of
 * endpoints in its networks. A node by itself, in a namespace of its own: its peers are only planned for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../kit/log.ts';
import { createNetns, removeNetns } from '../../kit/netns.ts';
import { runProcess } from '../../kit/process.ts';
import { parseIpv4 } from '../../kit/cidr.ts';
import { SkeinError } from '../../model/errors.ts';
import type { ServiceId } from '../../model/ids.ts';
import type { NetworkView } from '../../model/network-view.ts';
import { addressAfter, endpoint, peer, port, service, view } from '../../net/builders.ts';
import { KernelNetwork } from '../../net/kernel-network.ts';
import type { BenchStage } from './stage.ts';

const VTEP = '192.0.2.4';
const PEERS = ['b', 'c', 'd', 'e'];
/** Every service publishes a port, and has so many tasks. */
const TASKS = 5;
const FIRST_PORT = 20_000;

export async function rereadMs(stage: BenchStage, endpoints: number): Promise<readonly number[]> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-bench-reread-'));
  const netns = join(folder, 'node');
  createNetns(netns);
  const network = await KernelNetwork.open({
    ...{ runRoot: join(folder, 'run'), netns, vtep: parseIpv4(VTEP), log: silentLog },
  });
  try {
    for (const command of [
      'link add eth0 type bridge',
      'link set eth0 up',
      `address add ${VTEP}/24 dev eth0`,
    ])
      await runProcess(['nsenter', `--net=${netns}`, '--', 'ip', ...command.split(' ')]);
    await network.apply(viewOf(endpoints));
    const values: number[] = [];
    for (let round = 0; round < stage.rounds; round++) {
      stage.signal.throwIfAborted();
      // Somebody else changes nftables: where nobody does, the largest part need not be read.
      await runProcess(['nsenter', `--net=${netns}`, '--', 'nft', 'add table ip x; delete table ip x']);
      const began = performance.now();
      const { total } = await network.audit();
      values.push(performance.now() - began);
      if (total > 0) throw new SkeinError('internal', `the kernel differed from the plan in ${total} steps`);
    }
    return values;
  } finally {
    await network.clear();
    await network.close();
    removeNetns(netns);
    rmSync(folder, { recursive: true, force: true });
  }
}

function viewOf(count: number): NetworkView {
  const names = Array.from({ length: Math.ceil(count / TASKS) }, (_, n) => `s${n}`);
  return view({
    peers: PEERS.map((name, n) => peer(name, addressAfter(VTEP, n + 1))),
    services: names.map((name, n) => service(name, port(FIRST_PORT + n, 80))),
    endpoints: Array.from({ length: count }, (_, n) =>
      endpoint(PEERS[n % PEERS.length]!, `t${n}`, addressAfter('10.255.1.0', n), {
        serviceId: names[Math.floor(n / TASKS)] as ServiceId,
      }),
    ),
  });
}
