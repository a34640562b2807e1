/**
 * The range that every value of a graph takes on example inputs: what quantisation to 8 bits is scaled by.
 *
 * The one idea: the graph runs as it is, with all its values for outputs. Least and greatest values are found inside the
 * plan; methods that leave rare extremes out count the values between them in a second pass. After Krishnamoorthi,
 * "Quantizing deep convolutional networks for efficient inference" (2018, arXiv 1806.08342), section 3, and Nagel et al.,
 * "A white paper on neural network quantization" (2021, arXiv 2106.08295), section 3.1.
 */
import { compile, defaultDevice } from '../compile.ts';
import { NumericsError, UsageError } from '../core/errors.ts';
import type { HostTensor, Tensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { graphNetwork } from '../models/graph/network.ts';
import type { Graph } from '../models/graph/spec.ts';
import { type Preprocessing, preprocess } from '../models/network.ts';
import { freeVariables } from '../nn/module.ts';
import { max, mean, min } from '../ops/reduce.ts';
import type { TraceContext } from '../plan/trace.ts';

/** Least and greatest number that a value is taken to hold. */
export interface ValueRange {
  readonly min: number;
  readonly max: number;
}

/**
 * `minmax`: all that was seen. `percentile`: without the rarest extremes on either side. `mse`: as much of it as makes the
 * mean square of the error of 8-bit rounding and clipping least.
 */
export type CalibrationMethod = 'minmax' | 'percentile' | 'mse';
export const calibrationMethods: readonly CalibrationMethod[] = ['minmax', 'percentile', 'mse'];

export interface CalibrateOptions {
  /** Where the graph runs. Default: WASM on all cores. */
  readonly device?: Device | undefined;
  /** Default `minmax`. */
  readonly method?: CalibrationMethod | undefined;
  /** Percent of a value's numbers that `percentile` keeps. Default 99.99. */
  readonly percentile?: number | undefined;
  /** How uint8 images [N, H, W, 3] become the input. Without it inputs are taken as they are. */
  readonly preprocessing?: Preprocessing | undefined;
  /** Called after every batch with the batches done, of both passes, and their number. */
  readonly onProgress?: ((done: number, all: number) => void) | undefined;
}

/** Values of the graph's input, or of each of its inputs in order, with the batch axis first. */
export type CalibrationBatch = HostTensor | readonly HostTensor[];

/** Bins of the second pass. */
const bins = 2048;
/** About as many numbers of a value are counted in each batch. */
const mostCounted = 1 << 18;

/** How often numbers of a value fell into each of `bins` equal parts of its range. */
interface Counts extends ValueRange {
  readonly counts: Float64Array;
}

/**
 * Ranges of all values of a graph by name, its inputs among them.
 * @param batches example inputs: some hundred pictures like those of use
 * @throws UsageError without batches or for unknown options; NumericsError where a value is not finite
 */
export async function calibrate(
  graph: Graph,
  batches: readonly CalibrationBatch[],
  { device, method = 'minmax', percentile = 99.99, preprocessing, onProgress }: CalibrateOptions = {},
): Promise<Map<string, ValueRange>> {
  if (!calibrationMethods.includes(method))
    throw new UsageError(
      `calibrate: expected one of the methods ${calibrationMethods.join(', ')}, got '${method}'\nThe default is minmax.`,
    );
  if (!(percentile > 50 && percentile <= 100))
    throw new UsageError(`calibrate: expected a percentile over 50, at most 100, got ${percentile}\nTry 99.99.`);
  if (batches.length === 0)
    throw new UsageError('calibrate: expected at least one batch, got none\nGive pictures like those of use.');
  const values = [...graph.spec.inputs.map((i) => i.name), ...graph.spec.nodes.flatMap((n) => n.outputs)];
  const network = graphNetwork({
    ...graph,
    spec: { ...graph.spec, outputs: values.map((v) => ({ name: v, value: v })) },
  });
  const on = device ?? (await defaultDevice());
  const passes = method === 'minmax' ? 1 : 2;
  let done = 0;

  /** Runs all batches through a plan that computes `of` of every value. */
  const eachBatch = async (
    of: (x: Tensor) => Readonly<Record<string, Tensor>>,
    visit: (value: string, result: (what: string) => HostTensor) => void,
  ) => {
    const run = compile(
      (inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext) => {
        const given = Object.values(inputs).map((x, i) =>
          i === 0 && preprocessing ? preprocess(x, preprocessing) : x,
        );
        const made = network.outputs(given, ctx);
        return Object.fromEntries(
          values.flatMap((v, i) => Object.entries(of(made.get(v)!)).map(([what, t]) => [`${what} ${i}`, t])),
        );
      },
      { device: on },
    );
    try {
      for (const batch of batches) {
        const inputs = 'data' in batch ? [batch] : batch;
        const results = await run(Object.fromEntries(inputs.map((x, i) => [`input ${i}`, x])));
        values.forEach((v, i) => {
          visit(v, (what) => results[`${what} ${i}`]!);
        });
        onProgress?.(++done, passes * batches.length);
      }
    } finally {
      run.dispose();
      freeVariables(network, on);
    }
  };

  const ranges = new Map<string, ValueRange>();
  await eachBatch(
    (x) => ({ least: min(x), greatest: max(x), mean: mean(x) }),
    (value, result) => {
      const [least, greatest, middle] = ['least', 'greatest', 'mean'].map((w) => result(w).data[0]!) as [
        number,
        number,
        number,
      ];
      // A maximum may pass over what is not a number; the mean does not.
      if (![least, greatest, middle].every(Number.isFinite))
        throw new NumericsError(
          `calibrate: expected finite numbers in '${value}', got ${least} to ${greatest}, mean ${middle}\nLook at the pictures and at how they are prepared.`,
        );
      const r = ranges.get(value);
      ranges.set(value, { min: Math.min(least, r?.min ?? least), max: Math.max(greatest, r?.max ?? greatest) });
    },
  );
  if (method === 'minmax') return ranges;

  const seen = new Map<string, Counts>([...ranges].map(([v, r]) => [v, { ...r, counts: new Float64Array(bins) }]));
  await eachBatch(
    (x) => ({ x }),
    (value, result) => count(seen.get(value)!, result('x').data),
  );
  return new Map([...seen].map(([v, c]) => [v, method === 'mse' ? leastError(c) : inner(c, percentile)]));
}

function count({ min: from, max: to, counts }: Counts, data: ArrayLike<number>): void {
  const perBin = bins / (to - from);
  if (!Number.isFinite(perBin)) return;
  // Of large values every so manieth number tells enough; an odd step meets all channels.
  const step = Math.floor(data.length / mostCounted / 2) * 2 + 1;
  for (let i = 0; i < data.length; i += step) counts[Math.min(bins - 1, Math.floor((data[i]! - from) * perBin))]!++;
}

/** The range without the rarest `100 − percentile` percent, half of them on each side; whole bins. */
function inner({ min: from, max: to, counts }: Counts, percentile: number): ValueRange {
  const all = counts.reduce((a, b) => a + b, 0);
  const out = (all * (1 - percentile / 100)) / 2;
  const skip = (at: (i: number) => number) => {
    let i = 0;
    for (let sum = at(0); i < bins - 1 && sum <= out; ) sum += at(++i);
    return i;
  };
  if (all === 0) return { min: from, max: to };
  const bin = (to - from) / bins;
  return { min: from + bin * skip((i) => counts[i]!), max: to - bin * skip((i) => counts[bins - 1 - i]!) };
}

/** Levels of 8 bits, between which a range has one step less. */
const steps = 255;

/** Of ranges with either side drawn in, the one of least square error: steps² / 12 inside, the distance outside. */
function leastError({ min: from, max: to, counts }: Counts): ValueRange {
  const bin = (to - from) / bins;
  if (!(bin > 0)) return { min: from, max: to };
  const error = (low: number, high: number) => {
    const noise = ((high - low) / steps) ** 2 / 12;
    let sum = 0;
    for (let i = 0; i < bins; i++) {
      const x = from + (i + 0.5) * bin;
      sum += counts[i]! * (x < low ? (low - x) ** 2 : x > high ? (x - high) ** 2 : noise);
    }
    return sum;
  };
  let best: ValueRange = { min: from, max: to };
  let least = error(from, to);
  // One side after the other, twice: each is moved to where the error is least for the other as it is.
  for (let turn = 0; turn < 4; turn++) {
    const lower = turn % 2 === 0;
    const { min: low, max: high } = best;
    for (let k = 0; k < 100; k++) {
      const share = k / 100;
      const tried = lower
        ? { min: from + share * (high - from), max: high }
        : { min: low, max: to - share * (to - low) };
      const e = error(tried.min, tried.max);
      if (e < least) {
        least = e;
        best = tried;
      }
    }
  }
  return best;
}
