/** The shape of a JSON answer: every field's path with the type of its value. */

/**
 * Elements of a list count as one, and so do the values of a map whose keys are the user's: what is told is which fields
 * there are, not how many objects carry them.
 */
const MAPS =
  /(^|\.)(Labels|Options|Containers|Networks|Sysctls|Plugins|DriverOpts|IndexConfigs|Runtimes|Services|com\.docker.*)$/;

export function fieldsOf(value: unknown): string[] {
  const found = new Map<string, Set<string>>();
  const add = (path: string, type: string) => {
    if (!found.has(path)) found.set(path, new Set());
    found.get(path)!.add(type);
  };
  const walk = (path: string, at: unknown) => {
    if (Array.isArray(at)) {
      if (at.length === 0) add(`${path}[]`, 'nothing');
      for (const element of at) walk(`${path}[]`, element);
    } else if (at === null || typeof at !== 'object') add(path, at === null ? 'null' : typeof at);
    else if (MAPS.test(path)) add(path, 'map');
    else {
      const fields = Object.entries(at);
      if (fields.length === 0) add(path, 'object');
      for (const [key, child] of fields) walk(path === '' ? key : `${path}.${key}`, child);
    }
  };
  walk('', value);
  return [...found].map(([path, types]) => `${path} ${[...types].sort().join(' or ')}`).sort();
}
