/** Debian's docker-registry on loopback, open or with a password. */
import { createHash } from 'node:crypto';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RegistryAuth } from '../../src/containerd/runtime.ts';
import { freePort } from '../free-port.ts';
import { eventually } from './scratch.ts';

export interface Registry {
  readonly port: number;
  readonly process: ChildProcess;
}

/** bcrypt of "secret". */
const HTPASSWD = 'me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
export const AUTH: RegistryAuth = { username: 'me', password: 'secret' };

export const digestOf = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** With `htpasswd` for AUTH alone; with anything else, that is what its file says of `auth`. */
export async function registry(root: string, name: string, auth: string): Promise<Registry> {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  const port = await freePort();
  writeFileSync(join(folder, 'htpasswd'), HTPASSWD);
  const config = [
    'version: 0.1',
    'log: { level: error }',
    `storage: { filesystem: { rootdirectory: ${folder}/data } }`,
    `http: { addr: "127.0.0.1:${port}" }`,
    ...(auth
      ? [`auth: ${auth === 'htpasswd' ? `{ htpasswd: { realm: test, path: ${folder}/htpasswd } }` : auth}`]
      : []),
  ];
  writeFileSync(join(folder, 'config.yml'), `${config.join('\n')}\n`);
  const process = spawn('docker-registry', ['serve', join(folder, 'config.yml')], { stdio: 'ignore' });
  await eventually('registry answers', () => fetch(`http://127.0.0.1:${port}/v2/`).catch(() => undefined));
  return { port, process };
}
