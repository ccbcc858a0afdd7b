/** Waits for the view to show something, for so long. Whoever waits looks again afterwards: it may not have come. */
import type { Clock } from '../../kit/clock.ts';
import type { LiveView } from '../../store/view.ts';

export async function until(
  view: Pick<LiveView, 'onChange'>,
  clock: Clock,
  ms: number,
  isTrue: () => boolean,
): Promise<void> {
  if (isTrue()) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const off = view.onChange(() => isTrue() && resolve());
  const cancel = clock.after(ms, resolve);
  await promise;
  off();
  cancel();
}
