/** Log output on the wire: Docker's 8-byte frames, or the bare bytes where the container has a terminal. */

const STREAM = { stdout: 1, stderr: 2, error: 3 } as const;

export function frame(stream: keyof typeof STREAM, payload: Uint8Array): Uint8Array {
  const out = Buffer.alloc(8 + payload.length);
  out[0] = STREAM[stream];
  out.writeUInt32BE(payload.length, 4);
  out.set(payload, 8);
  return out;
}

export interface LogFormat {
  readonly tty: boolean;
  readonly timestamps: boolean;
}

export interface FormattedLine {
  readonly stream: 'stdout' | 'stderr';
  readonly time: string;
  readonly data: Uint8Array;
  /** `details=1`: `key=value,key=value`, keys in order, a space behind them also where there are none. */
  readonly details: string | undefined;
}

export function renderLine(line: FormattedLine, format: LogFormat): Uint8Array {
  const prefix = `${format.timestamps ? `${line.time} ` : ''}${line.details === undefined ? '' : `${line.details} `}`;
  const payload = prefix === '' ? line.data : Buffer.concat([Buffer.from(prefix), line.data]);
  return format.tty ? payload : frame(line.stream, payload);
}

/** Attributes as Docker prints them: sorted, values escaped for a query. */
export const renderDetails = (attributes: Readonly<Record<string, string>>): string =>
  Object.keys(attributes)
    .sort()
    .map((key) => `${queryEscape(key)}=${queryEscape(attributes[key]!)}`)
    .join(',');

/** As Go escapes for a query, which differs in a few characters. */
const queryEscape = (text: string): string =>
  encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
