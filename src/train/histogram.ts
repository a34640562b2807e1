/**
 * Histograms of tensors for TensorBoard: TensorFlow's buckets, whose limits grow by 10 % from 1e-12 to 1e20, on both sides of
 * zero, so that weights of any scale are told apart.
 *
 * The one idea: no logarithm or search for a value. The upper 16 bits of a float32 (sign, exponent, 7 bits of the mantissa)
 * name a cell at most 1/128 wide, in which at most one limit lies: a table gives the bucket at the cell's lower end, one
 * comparison tells whether the value is past the limit.
 * Source: tensorflow/core/lib/histogram/histogram.cc, tensorflow/core/framework/summary.proto (HistogramProto).
 */

/**
 * What a HistogramProto holds. Bucket i counts limits[i - 1] <= x < limits[i]; the first begins at `min`. Runs of empty buckets
 * are one; before the first and behind the last value there is none, where TensorFlow has one: TensorBoard's data server
 * would draw it from `min` back to its limit.
 */
export interface Histogram {
  readonly min: number;
  readonly max: number;
  /** How many values are counted. */
  readonly num: number;
  readonly sum: number;
  readonly sumSquares: number;
  readonly limits: readonly number[];
  readonly counts: readonly number[];
}

interface Buckets {
  readonly limits: Float64Array;
  /** Of each cell: the bucket of its lowest value. */
  readonly first: Uint16Array;
}

function makeBuckets(): Buckets {
  const positive: number[] = [];
  for (let v = 1e-12; v < 1e20; v *= 1.1) positive.push(v);
  positive.push(Number.MAX_VALUE);
  const limits = Float64Array.from([...positive.map((v) => -v).reverse(), 0, ...positive]);
  const bits = new Uint32Array(1);
  const value = new Float32Array(bits.buffer);
  const first = new Uint16Array(1 << 16);
  for (let cell = 0; cell < first.length; cell++) {
    // Below zero, larger bits are lower values.
    bits[0] = (cell << 16) | (cell < 0x8000 ? 0 : 0xffff);
    let low = 0;
    for (let high = limits.length - 1; low < high; ) {
      const middle = (low + high) >> 1;
      if (limits[middle]! > value[0]!) high = middle;
      else low = middle + 1;
    }
    first[cell] = low;
  }
  return { limits, first };
}
let buckets: Buckets | undefined;

/** The histogram of the finite values among `values`; undefined where there are none. */
export function histogramOf(values: Float32Array): Histogram | undefined {
  buckets ??= makeBuckets();
  const { limits, first } = buckets;
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const all = new Float64Array(limits.length);
  let [min, max, num, sum, sumSquares] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (v - v !== 0) continue; // NaN or infinite
    const b = first[bits[i]! >>> 16]!;
    all[v >= limits[b]! ? b + 1 : b]!++;
    if (v < min) min = v;
    if (v > max) max = v;
    num++;
    sum += v;
    sumSquares += v * v;
  }
  if (num === 0) return undefined;
  const last = all.findLastIndex((count) => count > 0);
  const kept: number[] = [];
  const counts: number[] = [];
  for (let b = all.findIndex((count) => count > 0); b <= last; b++) {
    if (all[b] === 0 && all[b + 1] === 0) continue;
    kept.push(limits[b]!);
    counts.push(all[b]!);
  }
  return { min, max, num, sum, sumSquares, limits: kept, counts };
}
