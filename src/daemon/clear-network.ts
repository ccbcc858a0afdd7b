/** For a node that leaves its cluster, or is no node any more: no sandbox, link, table or rule of Skein's remains. */
import type { Log } from '../kit/log.ts';
import { runProcess } from '../kit/process.ts';
import type { Ipv4 } from '../model/ids.ts';
import { HostFirewall } from '../net/firewall.ts';
import { KernelNetwork } from '../net/kernel-network.ts';

/** Nothing is made: no other node needs to find this one. */
const NO_TUNNEL = '0.0.0.0' as Ipv4;

export async function clearNetwork(runRoot: string, log: Log): Promise<void> {
  const network = await KernelNetwork.open({ runRoot, log, vtep: NO_TUNNEL });
  try {
    await network.clear();
    await new HostFirewall(runProcess).remove();
  } finally {
    await network.close();
  }
}
