/**
 * Secrets at rest. The store holds them sealed (AES-256-GCM) under a key that is never in it: each manager keeps the
 * key in a file of its own and gives it to a manager that joins. So neither etcd's data nor a backup of it tells one.
 *
 * A sealer without a key is locked and says so; a later autolock only has to withhold the key.
 * The text is `1.NONCE.DATA`: the number names the form, so that another may follow. The id of the secret is
 * authenticated with it: data moved to another secret does not open.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { SkeinError } from '../../model/errors.ts';
import type { RandomBytes, SecretId } from '../../model/ids.ts';

const FORM = '1';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export const newSecretsKey = (random: RandomBytes): string =>
  Buffer.from(random(KEY_BYTES)).toString('base64');

export class Sealer {
  readonly #random: RandomBytes;
  #key: Buffer | undefined;

  constructor(random: RandomBytes) {
    this.#random = random;
  }

  /** `key` is base64, as `newSecretsKey` makes it. */
  unlock(key: string): void {
    const bytes = Buffer.from(key, 'base64');
    if (bytes.length !== KEY_BYTES) throw new SkeinError('internal', 'the key of the secrets is damaged');
    this.#key = bytes;
  }

  seal(id: SecretId, data: Uint8Array): string {
    const nonce = this.#random(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#unlocked(), nonce).setAAD(Buffer.from(id));
    const sealed = Buffer.concat([cipher.update(data), cipher.final(), cipher.getAuthTag()]);
    return [FORM, Buffer.from(nonce).toString('base64'), sealed.toString('base64')].join('.');
  }

  open(id: SecretId, text: string): Buffer {
    const [form, nonce = '', data = ''] = text.split('.');
    if (form !== FORM)
      throw new SkeinError('internal', `secret ${id} is sealed in a form that is not known here`);
    const sealed = Buffer.from(data, 'base64');
    const decipher = createDecipheriv('aes-256-gcm', this.#unlocked(), Buffer.from(nonce, 'base64'), {
      authTagLength: TAG_BYTES,
    })
      .setAAD(Buffer.from(id))
      .setAuthTag(sealed.subarray(-TAG_BYTES));
    try {
      return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
    } catch (cause) {
      throw new SkeinError('internal', `secret ${id} does not open with this manager's key`, { cause });
    }
  }

  #unlocked(): Buffer {
    if (!this.#key)
      throw new SkeinError(
        'failed-precondition',
        "the cluster's secrets are locked: this manager has no key",
      );
    return this.#key;
  }
}
