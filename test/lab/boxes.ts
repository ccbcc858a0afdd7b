/** Containers of a real cluster as places to ask from and to be asked. */
import { runProcess } from '../../src/kit/process.ts';
import type { Stage } from './stage.ts';

export interface Box {
  readonly name: string;
  readonly node: string;
  readonly pid: number;
  readonly id: string;
  readonly addresses: Readonly<Record<string, string>>;
}

/** The containers of a service that are to run on, with the way into their namespaces: one that drains still runs. */
export async function boxesOf(stage: Stage, service: string): Promise<Box[]> {
  const found: Box[] = [];
  const tasks = await stage.running(service);
  for (const { name: node } of stage.lab.plan.nodes) {
    const cli = stage.docker(node);
    const names = tasks.filter((task) => task.node === node).map(({ name, id }) => `${name}.${id}`);
    if (names.length === 0) continue;
    const inspected = JSON.parse(await cli.ok('inspect', '--type', 'container', ...names)) as {
      Id: string;
      Name: string;
      State: { Pid: number };
      NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
    }[];
    for (const c of inspected)
      found.push({
        name: c.Name.slice(1),
        node,
        pid: c.State.Pid,
        id: c.Id,
        addresses: Object.fromEntries(
          Object.entries(c.NetworkSettings.Networks).map(([net, { IPAddress }]) => [net, IPAddress]),
        ),
      });
  }
  return found.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export const inside = (box: Box, ...argv: string[]) =>
  runProcess(['nsenter', `--net=/proc/${box.pid}/ns/net`, '--', ...argv], {
    accept: [0, 1],
    timeoutMs: 20_000,
  });

/** The answer's lines as a record: container, addresses, client. */
export async function answerTo(
  stage: Stage,
  from: Box | 'client' | 'node1',
  url: string,
): Promise<Record<string, string>> {
  const argv = ['busybox', 'wget', '-q', '-O', '-', url];
  const { stdout } =
    typeof from === 'string'
      ? await stage.lab.exec(from, argv, { accept: [0, 1], timeoutMs: 10_000 })
      : await inside(from, ...argv);
  return Object.fromEntries(
    stdout.split('\n').map((line) => [line.split(' ')[0]!, line.split(' ').slice(1).join(' ')]),
  );
}

export async function virtualIp(stage: Stage, service: string, network: string): Promise<string> {
  const [found] = JSON.parse(await stage.ok('service', 'inspect', service)) as {
    Endpoint: { VirtualIPs: { NetworkID: string; Addr: string }[] };
  }[];
  const id = (await stage.ok('network', 'inspect', '-f', '{{.Id}}', network)).trim();
  return found!.Endpoint.VirtualIPs.find((v) => v.NetworkID === id)!.Addr.split('/')[0]!;
}
