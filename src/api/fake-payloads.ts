/** Secrets or configs of the fake cluster: kept as they come. */
import { SkeinError } from '../model/errors.ts';
import type { Config, Id, Meta, Objects, Secret } from '../model/objects.ts';
import type { ConfigSpec, SecretSpec } from '../model/spec.ts';
import type { MutableView } from '../store/view.ts';
import type { PayloadBackend } from './backend.ts';

export class FakePayloads<K extends 'secret' | 'config'>
  implements PayloadBackend<SecretSpec & ConfigSpec, Objects[K]>
{
  readonly #kind: K;
  readonly #view: MutableView;
  readonly #newId: () => string;
  readonly #meta: () => Meta;

  constructor(kind: K, view: MutableView, newId: () => string, meta: () => Meta) {
    this.#kind = kind;
    this.#view = view;
    this.#newId = newId;
    this.#meta = meta;
  }

  find(ref: string): Objects[K] {
    const found = this.#view.byName(this.#kind, ref) ?? this.#view.get(this.#kind, ref as Id<K>);
    if (!found) throw new SkeinError('not-found', `${this.#kind} ${ref} not found`);
    return found;
  }

  async create(spec: SecretSpec & ConfigSpec): Promise<string> {
    const id = this.#newId();
    this.#put({ id, spec, sealed: '' });
    return id;
  }

  async update(ref: string, _version: number, spec: SecretSpec & ConfigSpec): Promise<void> {
    const found: Secret | Config = this.find(ref);
    this.#put({ ...found, spec: { ...found.spec, Labels: spec.Labels } });
  }

  async remove(ref: string): Promise<void> {
    const { id } = this.find(ref);
    const gone = { type: 'delete', kind: this.#kind, id } as Parameters<MutableView['apply']>[1][number];
    this.#view.apply(this.#view.revision + 1, [gone]);
  }

  #put(object: object): void {
    const stored = { ...object, ...this.#meta() };
    const change = { type: 'put', kind: this.#kind, object: stored } as unknown;
    this.#view.apply(this.#view.revision + 1, [change as Parameters<MutableView['apply']>[1][number]]);
  }
}
