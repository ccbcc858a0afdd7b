/** What Docker takes in a service's spec and Skein cannot honour: refused in words, never ignored. */
import type { ContainerSpec, MountSpec, NetworkAttachmentSpec, TaskSpec } from '../../model/spec.ts';
import { SkeinError } from '../../model/errors.ts';
import { logPolicy } from '../../model/log-driver.ts';
import { invalid, unimplemented } from './refusal.ts';

export function checkServed({
  ContainerSpec: container,
  LogDriver: log,
  Networks: networks = [],
}: TaskSpec): void {
  checkLogDriver(log);
  checkContainer(container);
  for (const mount of container.Mounts ?? []) checkMount(mount);
  for (const network of networks) checkAttachment(network);
}

function checkLogDriver(log: TaskSpec['LogDriver']): void {
  try {
    logPolicy(log);
  } catch (error) {
    const { code, message } = SkeinError.from(error);
    throw code === 'unimplemented' ? unimplemented(message) : invalid(message);
  }
}

function checkContainer({ Isolation: isolation, Configs: configs = [], Privileges }: ContainerSpec): void {
  if (isolation && isolation !== 'default')
    throw unimplemented(`isolation "${isolation}" is of Windows: Skein runs Linux containers`);
  const runtime = configs.find((config) => config.Runtime);
  if (runtime)
    throw unimplemented(`config ${runtime.ConfigName} is for a credential spec, which is of Windows`);
  for (const name of ['CredentialSpec', 'SELinuxContext', 'AppArmor'] as const)
    if (isSet(Privileges?.[name])) throw unimplemented(`Privileges.${name} is not served by Skein`);
  const seccomp = Privileges?.Seccomp?.Mode;
  if (seccomp && !['default', 'unconfined'].includes(seccomp))
    throw unimplemented(`seccomp mode "${seccomp}" is not served by Skein: default and unconfined are`);
}

/** Plugins: none can be installed on a node, so what only one of them could give is nowhere. */
function checkMount({
  Target,
  BindOptions: bind,
  VolumeOptions: volume,
  TmpfsOptions: tmpfs,
}: MountSpec): void {
  const driver = volume?.DriverConfig?.Name;
  if (driver && driver !== 'local')
    throw unimplemented(
      `volume driver "${driver}" of mount ${Target} is a plugin, and Skein has none: its volumes are local to a node`,
    );
  if (bind?.ReadOnlyForceRecursive)
    throw unimplemented(
      `bind-recursive=readonly of mount ${Target} is not served by Skein: what is mounted below it keeps its own access`,
    );
  if (tmpfs?.Options?.length)
    throw unimplemented(`options of tmpfs mount ${Target} other than size and mode are not served by Skein`);
}

function checkAttachment({ Target, DriverOpts: options = {} }: NetworkAttachmentSpec): void {
  const names = Object.keys(options).sort();
  if (names.length > 0)
    throw unimplemented(`driver options of network ${Target} are not served by Skein: ${names.join(', ')}`);
}

const isSet = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.values(value).some((v) => v !== '' && v !== false);
