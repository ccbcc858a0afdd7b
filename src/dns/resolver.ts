/**
 * The resolver: records in, answers out. Takes batches of records (`ToResolver`), keeps a listener in each sandbox,
 * answers each by what its networks know.
 *
 * INVARIANTS
 * - A batch is in force as a whole or not at all: answers never follow half of one.
 * - A sandbox's listener is open before its batch is acknowledged; a removed one is closed before.
 */
import type { ContainerId, Ipv4 } from '../model/ids.ts';
import { answer, type Reply } from './answer.ts';
import { Forwarder, type ForwarderOptions } from './forward.ts';
import { Listener } from './listener.ts';
import { Names } from './names.ts';
import type { FromResolver, ToResolver } from './records.ts';
import { readQuery, refusal, SERVFAIL, writeReply } from './wire.ts';

const TCP_LIMIT = 65_535;

type Change = Exclude<ToResolver, { type: 'commit' }>;

export class Resolver {
  readonly #forwarder: Forwarder;
  #names = new Names();
  readonly #listeners = new Map<ContainerId, { readonly netnsPath: string; readonly listener: Listener }>();
  #turn = 0;

  constructor(options: ForwarderOptions = {}) {
    this.#forwarder = new Forwarder(options);
  }

  /** Takes a whole batch, listeners included. */
  async apply(changes: readonly Change[]): Promise<FromResolver['failed']> {
    const start = changes.findLastIndex((change) => change.type === 'begin');
    const names = start < 0 ? this.#names : new Names();
    for (const change of changes.slice(start + 1))
      if (change.type === 'put') names.put(change.key, change.record);
      else if (change.type === 'delete') names.delete(change.key);
    this.#names = names;
    return this.#listen();
  }

  close(): void {
    for (const { listener } of this.#listeners.values()) listener.close();
    this.#listeners.clear();
  }

  async #listen(): Promise<FromResolver['failed']> {
    const wanted = this.#names.sandboxes;
    for (const [id, { netnsPath, listener }] of this.#listeners)
      if (wanted.get(id)?.netnsPath !== netnsPath) {
        listener.close();
        this.#listeners.delete(id);
      }
    const failed: { id: ContainerId; why: string }[] = [];
    for (const { id, netnsPath } of wanted.values()) {
      if (this.#listeners.has(id)) continue;
      try {
        const listener = await Listener.open(netnsPath, (query, over) => this.#serve(id, query, over));
        this.#listeners.set(id, { netnsPath, listener });
      } catch (error) {
        failed.push({ id, why: (error as Error).message });
      }
    }
    return failed;
  }

  #serve(
    id: ContainerId,
    bytes: Buffer,
    over: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> | Buffer | undefined {
    const query = readQuery(bytes);
    if (query.kind === 'ignore') return undefined;
    if (query.kind === 'refuse') return refusal(query, query.rcode);
    const sandbox = this.#names.sandboxes.get(id);
    if (!sandbox) return refusal(query, SERVFAIL);
    const reply = answer(query.question, sandbox, this.#names);
    if (reply.kind === 'forward')
      return this.#forwarder
        .ask(bytes, { asker: id, servers: sandbox.servers, over })
        .then((answered) => answered ?? refusal(query, SERVFAIL));
    return writeReply(query, this.#turned(reply), over === 'tcp' ? TCP_LIMIT : query.limit);
  }

  /** Another of several addresses comes first each time: most clients take the first. */
  #turned<R extends Reply>(reply: R): R {
    if (reply.kind !== 'addresses' || reply.addresses.length < 2) return reply;
    const by = this.#turn++ % reply.addresses.length;
    const addresses: Ipv4[] = [...reply.addresses.slice(by), ...reply.addresses.slice(0, by)];
    return { ...reply, addresses };
  }
}
