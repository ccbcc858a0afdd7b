/** What a benchmark measured, and how it is summed up: medians of interleaved rounds, side by side. Pure. */
import { SkeinError } from '../../model/errors.ts';

/** One measured quantity of one contender, a value a round. */
export interface Figure {
  /** What was measured, the same for all contenders: "new connections, task on this node". */
  readonly quantity: string;
  /** Who was measured: "mesh", "bare path", "HAProxy". */
  readonly contender: string;
  readonly unit: string;
  /** Less is better (latencies, memory). */
  readonly lower?: boolean;
  readonly values: readonly number[];
}

/** How the first contender should stand against another: a ratio, the better the larger. */
export interface Target {
  readonly quantity: RegExp;
  readonly of: string;
  readonly against: string;
  /** Only what each costs more than this contender is compared, of a paired result: both contain it. */
  readonly beyond?: string;
  readonly atLeast: number;
}

export interface Limit {
  readonly quantity: RegExp;
  readonly contender: string;
  readonly atMost: number;
}

/** A finished benchmark. */
export interface BenchResult {
  readonly name: string;
  readonly title: string;
  /** How it was measured, in a few sentences. */
  readonly method: string;
  readonly figures: readonly Figure[];
  /**
   * The n-th values of all contenders come from runs right after one another: ratios are taken of these, and their
   * median is what counts. A machine that grows slower or faster over the minutes is then in no ratio.
   */
  readonly paired?: true;
  readonly targets: readonly Target[];
  readonly limits?: readonly Limit[];
  /** What could not be measured, and why. */
  readonly missing: readonly string[];
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return Number.NaN;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN;
};

/** The list begun at another of its members: who goes first in a round. */
export const rotated = <T>(list: readonly T[], by: number): readonly T[] =>
  list.map((_, i) => list[(i + by) % list.length]!);

/** How much better `of` is than `against`: above 1 is better, for latencies too. */
export function ratio(of: Figure, against: Figure, paired = false): number {
  const { lower = false } = of;
  return paired
    ? median(inPairs(of, against, (a, b) => better(a, b, lower)))
    : better(median(of.values), median(against.values), lower);
}

/** The same of what each has more than `beyond`, run by run. */
export function ratioBeyond(of: Figure, against: Figure, beyond: Figure): number {
  const own = (figure: Figure) => Math.max(0, median(inPairs(figure, beyond, (all, others) => all - others)));
  return better(own(of), own(against), of.lower ?? false);
}

const better = (a: number, b: number, lower: boolean): number => (lower ? b / a : a / b);

function inPairs(a: Figure, b: Figure, compare: (a: number, b: number) => number): number[] {
  if (a.values.length !== b.values.length)
    throw new SkeinError(
      'internal',
      `${a.quantity}: ${a.contender} and ${b.contender} were not measured in pairs`,
    );
  return a.values.map((value, i) => compare(value, b.values[i]!));
}

export interface Judgement {
  readonly text: string;
  readonly holds: boolean;
}

/** Every target with what came out. One whose contender could not be measured is not judged: the result says what is missing. */
export function judge(result: BenchResult): readonly Judgement[] {
  const targets = result.targets.flatMap((target) => {
    const quantities = [...new Set(result.figures.map((f) => f.quantity))].filter((q) =>
      target.quantity.test(q),
    );
    return quantities.flatMap((quantity) => {
      const find = (contender: string) =>
        result.figures.find((f) => f.quantity === quantity && f.contender === contender);
      const [of, against] = [find(target.of), find(target.against)];
      const beyond = target.beyond === undefined ? undefined : find(target.beyond);
      if (!of || !against) return [];
      const value = beyond ? ratioBeyond(of, against, beyond) : ratio(of, against, result.paired);
      const what = beyond ? `${quantity}, beyond the ${beyond.contender}` : quantity;
      const text = `${what}: ${target.of} is ${value.toFixed(2)} x ${target.against} (target ${target.atLeast})`;
      return [{ text, holds: value >= target.atLeast }];
    });
  });
  const limits = (result.limits ?? []).flatMap((limit) =>
    result.figures
      .filter((f) => f.contender === limit.contender && limit.quantity.test(f.quantity))
      .map((f) => {
        const value = median(f.values);
        const text = `${f.quantity}: ${show(value)} ${f.unit} (at most ${limit.atMost})`;
        return { text, holds: value <= limit.atMost };
      }),
  );
  return [...targets, ...limits];
}

/** Three significant digits, thousands apart. */
export const show = (value: number): string =>
  Math.abs(value) >= 100
    ? Math.round(value).toLocaleString('en-US')
    : Number(value.toPrecision(3)).toString();

const spread = ({ values }: Figure): string => `${show(Math.min(...values))}-${show(Math.max(...values))}`;

/** A row a quantity, a column a contender: the median and the range; then the ratios of the first to the others. */
export function tableOf(result: BenchResult): readonly (readonly string[])[] {
  const contenders = [...new Set(result.figures.map((f) => f.contender))];
  const quantities = [...new Set(result.figures.map((f) => f.quantity))];
  const others = contenders.slice(1);
  const head = ['', ...contenders, ...others.map((other) => `${contenders[0]} / ${other}`)];
  const rows = quantities.map((quantity) => {
    const of = (contender: string) =>
      result.figures.find((f) => f.quantity === quantity && f.contender === contender);
    const unit = result.figures.find((f) => f.quantity === quantity)!.unit;
    const cells = contenders.map((contender) => {
      const figure = of(contender);
      return figure ? `${show(median(figure.values))} (${spread(figure)})` : '-';
    });
    const first = of(contenders[0]!);
    const ratios = others.map((other) => {
      const figure = of(other);
      const value = first && figure ? ratio(first, figure, result.paired) : Number.NaN;
      return Number.isFinite(value) ? value.toFixed(2) : '-';
    });
    return [`${quantity}, ${unit}`, ...cells, ...ratios];
  });
  return [head, ...rows];
}
