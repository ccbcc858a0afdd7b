/** The daemon's log: pino's JSON lines on standard output, which systemd or the lab keeps. */
import { type Logger, pino } from 'pino';
import type { Fields, Log } from '../kit/log.ts';

export function createLog(level: string, base: Fields = {}): Log {
  const logger = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime });
  return wrap(logger.child(base));
}

const wrap = (logger: Logger): Log => ({
  debug: (message, fields) => logger.debug(fields ?? {}, message),
  info: (message, fields) => logger.info(fields ?? {}, message),
  warn: (message, fields) => logger.warn(fields ?? {}, message),
  error: (message, fields) => logger.error(fields ?? {}, message),
  with: (fields) => wrap(logger.child(fields)),
});
