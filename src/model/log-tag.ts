/** The log option `tag`: a name for every line of a container, made from what is known of it wherever a log is read. Pure. */
import { SkeinError } from './errors.ts';

export interface LogTagFacts {
  readonly id: string;
  readonly name: string;
  readonly image: string;
}

const PLACEHOLDER = /\{\{\s*(.*?)\s*\}\}/gs;
const SHORT = 12;

/** Docker's words, slash before the name and all. What only the node knows that has the image is not among them. */
const VALUES: Readonly<Record<string, (facts: LogTagFacts) => string>> = {
  '.ID': ({ id }) => id.slice(0, SHORT),
  '.FullID': ({ id }) => id,
  '.ContainerID': ({ id }) => id,
  '.Name': ({ name }) => name,
  '.ContainerName': ({ name }) => `/${name}`,
  '.ImageName': ({ image }) => image,
  '.ContainerImageName': ({ image }) => image,
  '.DaemonName': () => 'docker',
};

export const expandLogTag = (text: string, facts: LogTagFacts): string =>
  text.replace(PLACEHOLDER, (_, expression: string) => VALUES[expression]?.(facts) ?? '');

/** Throws where a placeholder is not one of these. */
export function checkLogTag(text: string): void {
  const odd = [...text.matchAll(PLACEHOLDER)].find(([, expression]) => !Object.hasOwn(VALUES, expression!));
  if (odd)
    throw new SkeinError(
      'invalid-argument',
      `log option tag: "${odd[1]}" is none of ${Object.keys(VALUES).join(', ')}`,
    );
  if (/\{\{/.test(text.replace(PLACEHOLDER, '')))
    throw new SkeinError('invalid-argument', `log option tag: unclosed action in "${text}"`);
}
