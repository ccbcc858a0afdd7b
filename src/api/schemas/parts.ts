/**
 * What enters: the bodies of the Engine API as far as Skein reads them. Tolerant as Docker is (normalize.ts), strict
 * about types. Their output is the model's spec types; what they do not name is dropped, as Docker does. Here is what the
 * bodies of a cluster and those of a host are both made of.
 */
import { z } from 'zod';

export const text = z.string();
export const int = z.number().int();
export const texts = z.array(text);
export const textMap = z.record(text, text);
export const opt = <T extends z.ZodType>(type: T) => type.optional();

/** One of a few words; any other is refused as Docker words it. */
export const word = <const T extends readonly string[]>(known: T, refusal: (given: string) => string) =>
  z.enum(known, { error: ({ input }) => refusal(String(input)) });

export const mount = z.object({
  Type: word(['bind', 'volume', 'tmpfs'], (given) =>
    ['npipe', 'cluster', 'image'].includes(given)
      ? `mount type "${given}" is not served by Skein: bind, volume and tmpfs are`
      : `invalid MountType: "${given}"`,
  ).default('volume'),
  Source: opt(text),
  Target: text.default(''),
  ReadOnly: opt(z.boolean()),
  Consistency: opt(text),
  BindOptions: opt(
    z.object({
      Propagation: opt(text),
      NonRecursive: opt(z.boolean()),
      CreateMountpoint: opt(z.boolean()),
      ReadOnlyNonRecursive: opt(z.boolean()),
      ReadOnlyForceRecursive: opt(z.boolean()),
    }),
  ),
  VolumeOptions: opt(
    z.object({
      NoCopy: opt(z.boolean()),
      Subpath: opt(text),
      Labels: opt(textMap),
      DriverConfig: opt(z.object({ Name: opt(text), Options: opt(textMap) })),
    }),
  ),
  TmpfsOptions: opt(z.object({ SizeBytes: opt(int), Mode: opt(int), Options: opt(z.array(texts)) })),
});

export const health = z.object({
  Test: opt(texts),
  Interval: opt(int),
  Timeout: opt(int),
  Retries: opt(int),
  StartPeriod: opt(int),
  StartInterval: opt(int),
});
