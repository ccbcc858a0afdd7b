/** The head that all cluster objects share in Docker's JSON. */
import type { Meta } from '../../model/objects.ts';

export const metaJson = (id: string, meta: Meta) => ({
  ID: id,
  Version: { Index: meta.version },
  CreatedAt: meta.createdAt,
  UpdatedAt: meta.updatedAt,
});

/** Go's zero time, which Docker prints where there is none. */
export const NO_TIME = '0001-01-01T00:00:00Z';
