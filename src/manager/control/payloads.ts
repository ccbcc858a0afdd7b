/**
 * Secrets and configs in the hands of users: made once, never changed but for their labels, removed when no service
 * refers to them. One class for both kinds; they differ in their limit, and in how the data is kept.
 */
import { sameJson } from '../../kit/same-json.ts';
import type { SkeinError } from '../../model/errors.ts';
import { type ConfigId, newId, type RandomBytes, type SecretId } from '../../model/ids.ts';
import type { Config, Objects, Secret } from '../../model/objects.ts';
import type { ConfigSpec, SecretSpec } from '../../model/spec.ts';
import type { Op } from '../../store/store.ts';
import type { View } from '../../store/view.ts';
import type { Sealer } from '../secrets/sealer.ts';
import { draftOf } from '../step.ts';
import { findPayload } from './lookup.ts';
import { invalid, taken, unimplemented } from './refusal.ts';

export type PayloadKind = 'secret' | 'config';
type Spec = SecretSpec | ConfigSpec;

export interface PayloadOptions {
  readonly view: View;
  readonly random: RandomBytes;
  readonly sealer: Sealer;
  /** Runs the transaction and waits until the view shows it; `taken` is the refusal when the name is. */
  write(ops: readonly Op[], taken?: () => SkeinError): Promise<void>;
}

const LIMIT: Readonly<Record<PayloadKind, number>> = { secret: 500 * 1024, config: 1000 * 1024 };
const NAME = /^[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?$/;
const MAX_NAME = 64;

export class Payloads<K extends PayloadKind> {
  readonly #kind: K;
  readonly #options: PayloadOptions;

  constructor(kind: K, options: PayloadOptions) {
    this.#kind = kind;
    this.#options = options;
  }

  /** By id, name, or the beginning of an id. */
  find(ref: string): Objects[K] {
    return findPayload(this.#options.view, this.#kind, ref);
  }

  async create(spec: Spec): Promise<string> {
    const data = checkSpec(this.#kind, spec);
    const id = newId<SecretId & ConfigId>(this.#options.random);
    await this.#options.write([{ op: 'create', ...this.#stored(id, spec, data) }], () =>
      taken(`${this.#kind} ${spec.Name} already exists`),
    );
    return id;
  }

  async update(ref: string, version: number, spec: Spec): Promise<void> {
    const found: Secret | Config = this.find(ref);
    if (!this.#isSame(found, spec)) throw invalid('only updates to Labels are allowed');
    const kept = { ...found.spec, Labels: spec.Labels };
    const object = { ...draftOf(found as never), spec: kept } as never;
    await this.#options.write([{ op: 'update', kind: this.#kind, object, version }]);
  }

  async remove(ref: string): Promise<void> {
    const { id, spec } = this.find(ref);
    const users = usersOf(this.#options.view, this.#kind, id);
    if (users.length > 0)
      throw invalid(
        `${this.#kind} '${spec.Name}' is in use by the following service${users.length > 1 ? 's' : ''}: ${users.join(', ')}`,
      );
    await this.#options.write([{ op: 'delete', kind: this.#kind, id: id as never }]);
  }

  /** A secret's data lies sealed beside its spec, so that no reader of the spec can show it. */
  #stored(id: SecretId & ConfigId, spec: Spec, data: Buffer) {
    if (this.#kind === 'config') return { kind: 'config' as const, object: { id, spec: spec as ConfigSpec } };
    const { Data: _data, ...rest } = spec;
    return {
      kind: 'secret' as const,
      object: { id, spec: rest, sealed: this.#options.sealer.seal(id, data) },
    };
  }

  #isSame(found: Secret | Config, { Labels: _labels, Data: data, ...given }: Spec): boolean {
    const { Labels: _known, Data: knownData, ...rest } = found.spec;
    if (!sameJson(given, rest)) return false;
    if (!data) return true;
    if (!('sealed' in found)) return data === knownData;
    return this.#options.sealer.open(found.id, found.sealed).equals(Buffer.from(data, 'base64'));
  }
}

function checkSpec(kind: PayloadKind, spec: Spec): Buffer {
  if (!spec.Name) throw invalid('name must be provided');
  if (spec.Name.length > MAX_NAME || !NAME.test(spec.Name))
    throw invalid(
      'invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]',
    );
  if ('Driver' in spec && spec.Driver)
    throw unimplemented('secret drivers are not served by Skein: give the data itself');
  if (spec.Templating?.Name && spec.Templating.Name !== 'golang')
    throw invalid(`template driver "${spec.Templating.Name}" is not known: it must be golang`);
  const data = Buffer.from(spec.Data ?? '', 'base64');
  if (data.length === 0 || data.length >= LIMIT[kind])
    throw invalid(`${kind} data must be larger than 0 and less than ${LIMIT[kind]} bytes`);
  return data;
}

/** Names of the services whose spec refers to it. */
function usersOf(view: View, kind: PayloadKind, id: string): string[] {
  const refers = (container: { Secrets?: { SecretID: string }[]; Configs?: { ConfigID: string }[] }) =>
    kind === 'secret'
      ? container.Secrets?.some((s) => s.SecretID === id)
      : container.Configs?.some((c) => c.ConfigID === id);
  return [...view.all('service').values()]
    .filter(({ spec }) => refers(spec.TaskTemplate.ContainerSpec))
    .map(({ spec }) => spec.Name)
    .sort();
}
