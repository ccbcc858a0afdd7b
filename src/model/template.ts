/** `{{.Service.Name}}` and its like in hostname, environment and mounts: exactly the placeholders listed, no language. */
import { SkeinError } from './errors.ts';
import type { NodeId, ServiceId, TaskId } from './ids.ts';
import { taskName } from './names.ts';
import type { NodeDescription, Task } from './objects.ts';

type TemplateTask = Pick<Task, 'id' | 'serviceId' | 'serviceName' | 'serviceLabels' | 'slot' | 'nodeId'>;

export interface NodeNames {
  readonly id: NodeId | undefined;
  readonly hostname: string;
  readonly platform: NodeDescription['platform'];
}

const PLACEHOLDER = /\{\{\s*(.*?)\s*\}\}/gs;
const LABEL = /^(?:index\s+\.Service\.Labels\s+"([^"]*)"|\.Service\.Labels\.([\w-]+))$/;

/** `{{ NAME "ARGUMENT" }}`, in secrets and configs only. */
const CALL = /^(\w+)\s+"([^"]*)"$/;
export type TemplateFunctions = Readonly<Record<string, (argument: string) => string>>;

/** Throws `invalid-argument` on a placeholder that is not one of ours. */
export function expandTemplate(
  text: string,
  task: TemplateTask,
  node: NodeNames,
  functions: TemplateFunctions = {},
): string {
  if (!text.includes('{{')) return text;
  const values: Readonly<Record<string, string>> = {
    '.Service.ID': task.serviceId,
    '.Service.Name': task.serviceName,
    '.Node.ID': node.id ?? '',
    '.Node.Hostname': node.hostname,
    '.Node.Platform.Architecture': node.platform.architecture,
    '.Node.Platform.OS': node.platform.os,
    '.Task.ID': task.id,
    '.Task.Name': taskName(task),
    '.Task.Slot': task.slot === 0 ? (node.id ?? '') : String(task.slot),
  };
  return text.replace(PLACEHOLDER, (_, expression: string) => {
    const label = LABEL.exec(expression);
    if (label) return task.serviceLabels[label[1] ?? label[2]!] ?? '';
    if (Object.hasOwn(values, expression)) return values[expression]!;
    const [, name = '', argument = ''] = CALL.exec(expression) ?? [];
    if (Object.hasOwn(functions, name)) return functions[name]!(argument);
    throw new SkeinError(
      'invalid-argument',
      `expanding template "${text}" failed: "${expression}" is none of .Service.ID, .Service.Name, .Service.Labels.KEY, ` +
        '.Node.ID, .Node.Hostname, .Node.Platform.Architecture, .Node.Platform.OS, .Task.ID, .Task.Name, .Task.Slot',
    );
  });
}

const NOBODY = {
  id: '' as TaskId,
  serviceId: '' as ServiceId,
  serviceName: '',
  serviceLabels: {},
  slot: 1,
  nodeId: undefined,
};

/** Throws where `expandTemplate` would for any task: so a service is refused before it has one. */
export function checkTemplate(text: string): void {
  expandTemplate(text, NOBODY, { id: undefined, hostname: '', platform: { architecture: '', os: '' } });
}
