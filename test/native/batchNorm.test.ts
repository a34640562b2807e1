/** Moments per channel against f64, bounded by a plain two-pass f32 loop; large offsets; order of chunks and modes. */
import { setFlagsFromString } from 'node:v8';
import { describe, expect, it } from 'vitest';
import { momentsWasm } from '../../native/batchNorm.ts';
import { normal, keyOf as seed } from '../../src/core/random.ts';
import { BackwardRunner } from '../helpers/backwardRunner.ts';
import { runGuarded } from '../helpers/guarded.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, wideRelaxed } from '../helpers/kernelRunner.ts';

const draw = (rows: number, channels: number, offset = 0) =>
  normal(seed(7), rows * channels).map((v, i) => v * (1 + (i % channels) / 8) + offset);

function loops(x: Float32Array, channels: number, round: (v: number) => number) {
  const rows = x.length / channels;
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    let s = 0;
    for (let r = 0; r < rows; r++) s = round(s + x[r * channels + c]!);
    const m = round(s / rows);
    let q = 0;
    for (let r = 0; r < rows; r++) {
      const d = round(x[r * channels + c]! - m);
      q = round(q + round(d * d));
    }
    mean[c] = m;
    variance[c] = round(q / rows);
  }
  return [mean, variance] as const;
}

const run = (x: Float32Array, channels: number, runner: KernelRunner) =>
  runGuarded(
    momentsWasm,
    [{ data: x, shape: [x.length / channels, channels] }],
    [{ shape: [channels] }, { shape: [channels] }],
    undefined,
    runner,
  ) as [Float32Array, Float32Array];

const runners = [new KernelRunner(narrowRelaxed, 256), new BackwardRunner(narrowStrict, 256)];
const shapes: [number, number][] = [
  ...[1, 2, 3, 7, 8, 9, 17, 33, 64, 65, 513].map((c): [number, number] => [200, c]),
  [1, 12],
  [2, 5],
  [63, 600],
  [64, 1024],
  [65, 1024],
  [1025, 64],
  [5000, 40],
  [70000, 3],
];

describe('momentsWasm', () => {
  it.each(shapes)('gives mean and biased variance of [%i, %i]', (rows, channels) => {
    for (const offset of [0, 1e4]) {
      const x = draw(rows, channels, offset);
      const truth = loops(x, channels, (v) => v);
      const plain = loops(x, channels, Math.fround);
      // A mean near 0 is a difference of numbers that are not: one ulp of the largest term, and of the variance.
      const largest = new Float64Array(channels);
      x.forEach((v, i) => {
        largest[i % channels] = Math.max(largest[i % channels]!, Math.abs(v));
      });
      const scales = [largest, truth[1]];
      for (const runner of runners) {
        run(x, channels, runner).forEach((got, k) => {
          const worst = Math.max(...plain[k]!.map((v, c) => Math.abs(v - truth[k]![c]!)));
          got.forEach((v, c) => {
            const bound = 4 * worst + scales[k]![c]! * 2 ** -23;
            expect(Math.abs(v - truth[k]![c]!), `output ${k}, channel ${c}, offset ${offset}`).toBeLessThanOrEqual(
              bound,
            );
          });
        });
      }
    }
  });

  it('keeps the digits of a variance of 1 around a mean of 10,000', () => {
    const x = draw(50000, 1, 1e4);
    const [[mean], [variance]] = loops(x, 1, (v) => v);
    const [m, v] = run(x, 1, runners[0]!);
    // The mean to half a unit in the last place, give or take one rounding; sums of squares would lose every digit.
    expect(Math.abs(m[0]! - mean!)).toBeLessThanOrEqual(2 ** -10);
    expect(Math.abs(v[0]! / variance! - 1)).toBeLessThan(50 * 2 ** -24 * Math.sqrt(4096));
  });

  it('gives exactly zero variance for constant channels', () => {
    const x = new Float32Array(3000 * 10).fill(0.1);
    const [m, v] = run(x, 10, runners[0]!);
    expect([...m]).toEqual(new Array(10).fill(Math.fround(0.1)));
    expect([...v]).toEqual(new Array(10).fill(0));
  });

  it('wide and narrow, any order of chunks: the same bits', () => {
    setFlagsFromString('--no-liftoff');
    const inputs = shapes.map(([rows, channels]) => draw(rows, channels, 3));
    const all = (runner: KernelRunner) =>
      inputs.flatMap((x, i) => run(x, shapes[i]![1], runner).map((a) => Buffer.from(a.buffer)));
    const narrow = all(new KernelRunner(narrowRelaxed, 256));
    const backward = all(new BackwardRunner(narrowRelaxed, 256));
    setFlagsFromString('--experimental-wasm-revectorize');
    const wide = all(new KernelRunner(wideRelaxed, 256));
    narrow.forEach((b, i) => {
      expect(Buffer.compare(b, backward[i]!)).toBe(0);
      expect(Buffer.compare(b, wide[i]!)).toBe(0);
    });
  });
});
