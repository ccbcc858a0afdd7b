import { hash } from 'node:crypto';

/** SHA-256 of a text as 64 hexadecimal digits. In one call: an agent takes it of every endpoint that it hears of. */
export const sha256 = (text: string): string => hash('sha256', text);
