/** What Docker takes in a service's spec and Skein cannot honour: refused in words, never ignored. */
import type { ContainerSpec, TaskSpec } from '../../model/spec.ts';
import { unimplemented } from './refusal.ts';

export function checkServed({ ContainerSpec: container, LogDriver: log }: TaskSpec): void {
  if (log?.Name && log.Name !== 'json-file')
    throw unimplemented(
      `log driver "${log.Name}" is not served by Skein: output is kept on the node (json-file)`,
    );
  const options = Object.keys(log?.Options ?? {});
  if (options.length > 0)
    throw unimplemented(`log options are not served by Skein yet: ${options.sort().join(', ')}`);
  checkContainer(container);
}

function checkContainer({ Isolation: isolation, Configs: configs = [], Privileges }: ContainerSpec): void {
  if (isolation && isolation !== 'default')
    throw unimplemented(`isolation "${isolation}" is of Windows: Skein runs Linux containers`);
  const runtime = configs.find((config) => config.Runtime);
  if (runtime)
    throw unimplemented(`config ${runtime.ConfigName} is for a credential spec, which is of Windows`);
  const privileges = (Privileges ?? {}) as Readonly<Record<string, unknown>>;
  for (const name of ['CredentialSpec', 'SELinuxContext', 'AppArmor'])
    if (isSet(privileges[name])) throw unimplemented(`Privileges.${name} is not served by Skein`);
}

const isSet = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.values(value).some((v) => v !== '' && v !== false);
