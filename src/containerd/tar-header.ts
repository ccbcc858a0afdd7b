/** The header of a tar entry: ustar, and before it a pax header for what does not fit (names, sizes, ids, times). Pure. */

export interface TarHeader {
  /** As tar has it: a digit of ustar. */
  readonly type: keyof typeof TYPES;
  readonly name: string;
  readonly link?: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes that follow, padded to BLOCK. */
  readonly size: number;
  /** Seconds. */
  readonly mtime: number;
  readonly device?: { readonly major: number; readonly minor: number };
}

const TYPES = {
  file: '0',
  link: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
  pax: 'x',
} as const;

const BLOCK = 512;
const NAME_BYTES = 100;
/** Eleven octal digits, and seven. */
const MAX_SIZE = 0o77777777777;
const MAX_ID = 0o7777777;

/** Two blocks of nothing: there is no more. */
export const TAR_END: Uint8Array = new Uint8Array(2 * BLOCK);

export const padding = (size: number): Uint8Array => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

export function tarHeader(header: TarHeader): Uint8Array {
  const records = Buffer.concat(paxRecords(header).map(paxRecord));
  if (records.length === 0) return ustar(header);
  const pax = { type: 'pax', name: 'pax', mode: 0o644, uid: 0, gid: 0, mtime: 0 } as const;
  return Buffer.concat([
    ustar({ ...pax, size: records.length }),
    records,
    padding(records.length),
    ustar(header),
  ]);
}

function paxRecords({ name, link = '', size, uid, gid }: TarHeader): (readonly [string, string])[] {
  const long = (text: string) => Buffer.byteLength(text) > NAME_BYTES;
  return [
    ...(long(name) ? [['path', name] as const] : []),
    ...(long(link) ? [['linkpath', link] as const] : []),
    ...(size > MAX_SIZE ? [['size', String(size)] as const] : []),
    ...(uid > MAX_ID ? [['uid', String(uid)] as const] : []),
    ...(gid > MAX_ID ? [['gid', String(gid)] as const] : []),
  ];
}

/** `LENGTH KEY=VALUE\n`, the length with itself. */
function paxRecord([key, value]: readonly [string, string]): Buffer {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

function ustar(header: TarHeader): Buffer {
  const block = Buffer.alloc(BLOCK);
  const text = (at: number, bytes: number, value: string) => Buffer.from(value).copy(block, at, 0, bytes);
  const octal = (at: number, digits: number, value: number) =>
    text(at, digits, Math.max(0, value).toString(8).padStart(digits, '0'));
  text(0, NAME_BYTES, header.name);
  octal(100, 7, header.mode);
  octal(108, 7, Math.min(header.uid, MAX_ID));
  octal(116, 7, Math.min(header.gid, MAX_ID));
  octal(124, 11, Math.min(header.size, MAX_SIZE));
  octal(136, 11, Math.floor(header.mtime));
  text(148, 8, ' '.repeat(8)); // the sum is over these
  text(156, 1, TYPES[header.type]);
  text(157, NAME_BYTES, header.link ?? '');
  text(257, 8, 'ustar\u000000');
  octal(329, 7, header.device?.major ?? 0);
  octal(337, 7, header.device?.minor ?? 0);
  const sum = block.reduce((total, byte) => total + byte, 0);
  text(148, 8, `${sum.toString(8).padStart(6, '0')}\u0000 `);
  return block;
}
