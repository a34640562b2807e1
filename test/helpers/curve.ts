/** The log of a run without what depends on the clock. */
import { readFileSync } from 'node:fs';

const timed = new Set(['imagesPerSecond', 'waitShare', 'seconds']);

/** Every cell of `curve.csv` that two runs of one recipe must share. */
export function curveOf(path: string): string[][] {
  const rows = readFileSync(path, 'utf8')
    .split('\n')
    .map((line) => line.split(','));
  return rows.map((row) => row.filter((_, i) => !timed.has(rows[0]![i]!)));
}
