/**
 * Structured logging. Keys are dotted and fixed (`service.id`, `task.id`, `node.id`, `network.id`); an error is
 * logged once, where it is handled. The daemon gives a pino logger, tests a silent or recording one.
 */
export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warn(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
  /** A log that adds `fields` to every line. */
  with(fields: Fields): Log;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  with: () => silentLog,
};
