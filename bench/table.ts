/** Results as rows, and as text. */
import type { ModeName } from './machine.ts';
import { bestOf, medianOf } from './sample.ts';

export interface Result {
  readonly work: string;
  readonly engine: string;
  /** 0 on a GPU. */
  readonly threads: number;
  readonly mode: ModeName;
  readonly bestMs: number;
  readonly medianMs: number;
  /** Items (faces, calls) a second at the best time. */
  readonly perSecond: number;
  /** A multiply-add counts as two. 0 where the work has none to speak of. */
  readonly gflops: number;
  /** Of the multiply-add peak of this mode with as many threads; null where it was not measured. */
  readonly peakShare: number | null;
  /** Every input and output once, and its share of the copy bandwidth. */
  readonly gbPerSecond?: number;
  readonly copyShare?: number;
  readonly runs?: number;
  readonly version?: string;
}

/** A figure drawn from several rows: a mean share, a ratio, a size. */
export interface Summary {
  readonly what: string;
  readonly mode: ModeName;
  readonly value: number;
  readonly unit: '%' | 'x' | 'ms' | 'MB' | '';
}

/** The ceilings of this machine in the mode of this process: by number of threads. */
export interface Ceiling {
  readonly threads: number;
  /** GFLOP/s of the mode's fused multiply-adds. */
  readonly peak: number;
  /** GB/s of a copy, read and written bytes both counted. */
  readonly copy: number;
}
export type Ceilings = readonly Ceiling[];

const round = (x: number) => Number(x.toPrecision(5));

export const peakOf = (ceilings: Ceilings, threads: number): number | null =>
  ceilings.find((r) => r.threads === threads)?.peak ?? null;

export interface Amount {
  readonly work: string;
  readonly threads: number;
  readonly mode: ModeName;
  readonly engine?: string;
  /** Of one run. */
  readonly flops?: number;
  readonly bytes?: number;
  readonly items?: number;
}

/** The row of a work from the milliseconds of its runs. */
export function resultOf(amount: Amount, ms: readonly number[], ceilings: Ceilings): Result {
  const { work, threads, mode, engine = 'facegrad', flops = 0, bytes, items = 1 } = amount;
  const best = bestOf(ms);
  const gflops = flops / best / 1e6;
  const peak = peakOf(ceilings, threads);
  const copy = ceilings.find((r) => r.threads === threads)?.copy;
  const gb = bytes === undefined ? undefined : bytes / best / 1e6;
  return {
    work,
    engine,
    threads,
    mode,
    bestMs: round(best),
    medianMs: round(medianOf(ms)),
    perSecond: round((1e3 * items) / best),
    gflops: round(gflops),
    peakShare: peak ? round(gflops / peak) : null,
    ...(gb === undefined ? {} : { gbPerSecond: round(gb), ...(copy ? { copyShare: round(gb / copy) } : {}) }),
    runs: ms.length,
  };
}

/** Columns aligned: text left, numbers right. The first row is the heading. */
export function columns(rows: readonly (readonly string[])[], left = 2): string {
  const widths = rows[0]!.map((_, c) => Math.max(...rows.map((r) => r[c]!.length)));
  return rows
    .map((r) =>
      r
        .map((cell, c) => (c < left ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const fixed = (x: number | null | undefined, digits: number) => (x ? x.toFixed(digits) : '');
const percent = (x: number | null | undefined) => (x ? `${(100 * x).toFixed(1)} %` : '');

export function resultTable(results: readonly Result[]): string {
  const moves = results.some((r) => r.gbPerSecond);
  return columns([
    [
      'work',
      'engine',
      'threads',
      'best ms',
      'median ms',
      'per second',
      'GFLOP/s',
      'of peak',
      ...(moves ? ['GB/s', 'of copy'] : []),
    ],
    ...results.map((r) => [
      r.work,
      r.engine,
      r.threads ? String(r.threads) : '',
      r.bestMs.toPrecision(4),
      r.medianMs.toPrecision(4),
      r.perSecond >= 100 ? r.perSecond.toFixed(0) : r.perSecond.toPrecision(3),
      fixed(r.gflops, 1),
      percent(r.peakShare),
      ...(moves ? [fixed(r.gbPerSecond, 1), percent(r.copyShare)] : []),
    ]),
  ]);
}

export const summaryLine = (s: Summary): string =>
  `${s.what}: ${
    s.unit === '%'
      ? `${(100 * s.value).toFixed(1)} %`
      : s.unit === 'x'
        ? `${s.value.toFixed(2)}x`
        : `${Number.isInteger(s.value) ? s.value : s.value.toFixed(1)}${s.unit && ` ${s.unit}`}`
  }`;
