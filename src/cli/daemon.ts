/** `skein daemon`: runs skeind in the foreground; systemd or the lab looks after it. */
import type { Command } from 'commander';
import { Option } from 'commander';
import { createLog } from '../daemon/log.ts';
import { type Settings, loadSettings, settingsSchema } from '../daemon/settings.ts';
import { SkeinError } from '../model/errors.ts';

const kebab = (name: string): string => name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);

const collect = (value: string, previous: string[] = []): string[] => [...previous, value];

function collectLabel(value: string, previous: Record<string, string> = {}): Record<string, string> {
  const at = value.indexOf('=');
  return { ...previous, [at < 0 ? value : value.slice(0, at)]: at < 0 ? '' : value.slice(at + 1) };
}

/** One flag a setting, so that neither can be forgotten when the other grows. */
function optionFor(name: keyof Settings): Option {
  const description = settingsSchema.shape[name].description ?? '';
  if (name === 'insecureRegistries')
    return new Option('--insecure-registries <host...>', description).argParser(collect);
  if (name === 'nodeGenericResources')
    return new Option('--node-generic-resources <kind=value...>', description).argParser(collect);
  if (name === 'labels') return new Option('--labels <key=value...>', description).argParser(collectLabel);
  return new Option(`--${kebab(name)} <value>`, description);
}

export function registerDaemon(program: Command): void {
  const command = program
    .command('daemon')
    .description('run this node: agent, and manager where the role is manager')
    .option('--settings <file>', 'JSON file with the same names in camelCase; flags win over it');
  for (const name of Object.keys(settingsSchema.shape)) command.addOption(optionFor(name as keyof Settings));
  command.action(async (options: Record<string, unknown>) => {
    const { settings: file, ...flags } = options;
    const settings = loadSettings(file as string | undefined, flags);
    if (process.getuid?.() !== 0)
      throw new SkeinError(
        'failed-precondition',
        'a node makes namespaces, links and containers: run it as root',
      );
    const log = createLog(settings.logLevel);
    const { runDaemon } = await import('../daemon/skeind.ts');
    await runDaemon(settings, log);
  });
}
