/**
 * The sandboxes of this node on file: `<runRoot>/sandboxes/<container id>.json`. A record is written before the first
 * part of a sandbox is made and removed after the last is gone, so whatever a killed process left is found.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { ContainerId, InterfaceAddress, Ipv4, Mac, NetworkId, ServiceId } from '../model/ids.ts';
import type { SandboxSpec } from './network.ts';
import type { SandboxRecord } from './plan.ts';
import { linkNumbers } from './sandbox-plan.ts';

const branded = <T extends string>() => z.string().transform((value) => value as T);
const port = z.object({
  Name: z.string().optional(),
  Protocol: z.enum(['tcp', 'udp', 'sctp']),
  TargetPort: z.number(),
  PublishedPort: z.number().optional(),
  PublishMode: z.enum(['ingress', 'host']),
  HostIp: branded<Ipv4>().optional(),
});
const record = z.object({
  spec: z.object({
    id: branded<ContainerId>(),
    serviceId: branded<ServiceId>().optional(),
    attachments: z.array(
      z.object({
        networkId: branded<NetworkId>(),
        address: branded<InterfaceAddress>(),
        mac: branded<Mac>(),
      }),
    ),
    hostPorts: z.array(port),
    dnsServers: z.array(z.string()).default([]),
    internal: z.boolean(),
  }),
  gateway: branded<InterfaceAddress>().optional(),
  hostPorts: z.array(port),
  links: z.object({ networks: z.array(z.number()), gateway: z.number() }).optional(),
  keepsClients: z.boolean().default(false),
});

export class SandboxRecords {
  readonly #folder: string;
  readonly #records = new Map<ContainerId, SandboxRecord>();

  constructor(runRoot: string) {
    this.#folder = join(runRoot, 'sandboxes');
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.#folder))
      if (name.endsWith('.json')) this.#load(join(this.#folder, name));
  }

  get all(): readonly SandboxRecord[] {
    return [...this.#records.values()];
  }

  get(id: ContainerId): SandboxRecord | undefined {
    return this.#records.get(id);
  }

  set(value: SandboxRecord): void {
    const file = this.#file(value.spec.id);
    writeFileSync(`${file}.new`, JSON.stringify(value), { mode: 0o600 });
    renameSync(`${file}.new`, file);
    this.#records.set(value.spec.id, value);
  }

  delete(id: ContainerId): void {
    rmSync(this.#file(id), { force: true });
    this.#records.delete(id);
  }

  /** A file that can not be read is of nobody's use: the kernel still shows the sandbox, and detach removes it. */
  #load(file: string): void {
    try {
      // A record of before links could come and go has them in the order of its networks.
      const { links, ...rest } = record.parse(JSON.parse(readFileSync(file, 'utf8')));
      const value = {
        ...rest,
        links: links ?? linkNumbers(rest.spec as SandboxSpec, undefined),
      } as SandboxRecord;
      this.#records.set(value.spec.id, value);
    } catch {
      rmSync(file, { force: true });
    }
  }

  #file(id: ContainerId): string {
    return join(this.#folder, `${id}.json`);
  }
}
