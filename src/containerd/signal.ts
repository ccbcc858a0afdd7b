/** Signals by the names and numbers that Docker takes. */
import { constants } from 'node:os';
import { SkeinError } from '../model/errors.ts';

const MAX_SIGNAL = 64;
const RTMIN = 34;

export function signalNumber(signal: string | number): number {
  const text = String(signal).trim().toUpperCase();
  const number = /^\d+$/.test(text) ? Number(text) : byName(text.replace(/^SIG/, ''));
  if (number === undefined || number < 1 || number > MAX_SIGNAL)
    throw new SkeinError('invalid-argument', `invalid signal: ${signal}`);
  return number;
}

function byName(name: string): number | undefined {
  const realtime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (!realtime) return (constants.signals as Record<string, number>)[`SIG${name}`];
  const base = realtime[1] === 'MIN' ? RTMIN : MAX_SIGNAL;
  return base + (realtime[2] === '-' ? -1 : 1) * Number(realtime[3] ?? 0);
}
