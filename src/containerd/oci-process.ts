/** From a container's own OCI process and what was asked for to the OCI process of an exec. Pure. */
import { CAPABILITIES } from './oci-defaults.ts';
import type { HostLimits } from './oci-spec.ts';
import type { ExecConfig } from './process.ts';
import { findUser, type UserDatabase } from './user.ts';

/** The `process` of a runtime spec, as far as an exec inherits it. */
export interface OciProcess {
  readonly env: readonly string[];
  readonly cwd: string;
  readonly user: object;
  readonly capabilities: object;
  readonly [other: string]: unknown;
}

/** `users` are the container's, needed only where a user is named. */
export function execProcess(
  own: OciProcess,
  config: ExecConfig,
  users: UserDatabase | undefined,
  host: HostLimits,
): OciProcess {
  return {
    ...own,
    terminal: config.tty,
    ...(config.size && { consoleSize: config.size }),
    args: config.args,
    env: envOf(own.env, config),
    cwd: config.cwd || own.cwd,
    user: config.user === '' ? own.user : findUser(config.user, [], users ?? { passwd: '', group: '' }),
    capabilities: config.privileged ? allOf(host) : own.capabilities,
  };
}

/** Later entries win, as in the container's own environment. */
function envOf(own: readonly string[], { env, tty }: ExecConfig): string[] {
  const merged = new Map<string, string>();
  for (const entry of [...own, ...env]) merged.set(entry.split('=')[0]!, entry);
  if (tty && !merged.has('TERM')) merged.set('TERM', 'TERM=xterm');
  return [...merged.values()].filter((entry) => entry.includes('='));
}

function allOf(host: HostLimits): object {
  const all = CAPABILITIES.filter((name) => host.capabilities.has(name));
  return { bounding: all, effective: all, permitted: all };
}
