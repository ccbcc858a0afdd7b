/** A file's mode as Go's `os.FileMode`, which Docker's clients read: permission bits, and the kind in the high ones. */
const KINDS: Readonly<Record<number, number>> = {
  0o40000: 2 ** 31, // folder
  0o120000: 2 ** 27, // symbolic link
  0o60000: 2 ** 26, // block device
  0o10000: 2 ** 25, // named pipe
  0o140000: 2 ** 24, // socket
  0o20000: 2 ** 26 + 2 ** 21, // character device
};
const BITS: readonly (readonly [unix: number, go: number])[] = [
  [0o4000, 2 ** 23],
  [0o2000, 2 ** 22],
  [0o1000, 2 ** 20],
];

export const goMode = (mode: number): number =>
  (mode & 0o777) +
  (KINDS[mode & 0o170000] ?? 0) +
  BITS.reduce((sum, [unix, go]) => sum + (mode & unix ? go : 0), 0);
