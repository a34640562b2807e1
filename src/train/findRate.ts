/**
 * The range of learning rates that a recipe trains at: a short run whose rate climbs at every step, with its loss (Smith
 * 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3).
 *
 * The one idea: step i of n has the rate from · (to/from)^(i/(n−1)), and the loss is followed by a moving mean without the
 * bias of its start, sᵢ = (1−β) Σ βʲ lossᵢ₋ⱼ / (1−βⁱ⁺¹), as InsightFace_Pytorch's find_lr does. Such a mean lags: what it
 * shows at a step is mostly of the steps before, so rates are read off that much earlier.
 */
import { UsageError } from '../core/errors.ts';
import { number, type Options, optional, resolveOptions, whole } from '../core/options.ts';
import type { Device } from '../device/device.ts';
import { parameterCount } from '../nn/module.ts';
import { scheduleOf } from '../optim/schedules.ts';
import type { Recipe } from './recipe.ts';
import { setUp } from './setup.ts';
import { startFrom } from './start.ts';
import { trainingStep } from './step.ts';

/** What a sweep lets its user choose. */
export const findRateOptions = {
  from: number({ above: 0 }, 1e-6, 'rate of the first step'),
  to: number({ above: 0 }, 10, 'rate of the last step'),
  steps: whole({ from: 25 }, 100, 'number of steps'),
  beta: optional(
    number(
      { above: 0, below: 1 },
      0.98,
      'share of the smoothed loss that stays at each step; 1 − 20/steps if left out',
    ),
  ),
  stopAt: number({ above: 1 }, 4, 'multiple of the lowest smoothed loss at which the sweep ends'),
};

export interface RatePoint {
  /** The rate as the recipe's `lr` gives it. */
  readonly lr: number;
  readonly loss: number;
  readonly smoothed: number;
}

/** What is read off a sweep. */
export interface RateReading {
  /** Where the smoothed loss is lowest before it rises again. */
  readonly lowest: number;
  /** Where it falls fastest per power of ten. */
  readonly steepest: number;
  /**
   * The rate to train at: half a power of ten below `lowest`, since a run stays at its rate for longer than a step. (The
   * tenth of the lowest that is often taken covers the lag of the mean as well, which these rates are without.)
   */
  readonly suggested: number;
}

export interface RateRange {
  readonly points: readonly RatePoint[];
  /** Undefined where the loss does not fall by more than its noise. */
  readonly reading: RateReading | undefined;
  /** How the sweep ended: all steps done, loss above `stopAt` times its lowest, loss not finite, or aborted. */
  readonly ended: 'whole' | 'rose' | 'notFinite' | 'aborted';
}

export type FindRateEvent =
  | {
      readonly type: 'start';
      readonly data: string;
      readonly classes: number;
      readonly images: number;
      readonly parameters: number;
    }
  | ({ readonly type: 'point'; readonly done: number; readonly total: number } & RatePoint)
  | { readonly type: 'bad'; readonly file: string; readonly reason: string }
  | { readonly type: 'compile'; readonly done: number; readonly total: number }
  | { readonly type: 'note'; readonly text: string };

export interface FindRateOptions extends Options<typeof findRateOptions> {
  readonly device: Device;
  readonly onEvent?: (e: FindRateEvent) => void;
  /** Aborting ends the sweep with the points found so far. */
  readonly signal?: AbortSignal;
  /** Threads that decode pictures. */
  readonly workers?: number;
}

/** Share of the smoothed loss that stays at each step: a memory of a twentieth of the sweep; 0.98 for a thousand steps. */
export const betaFor = (steps: number): number => 1 - 20 / steps;

/**
 * Reads a sweep. The lowest point is the first that lies below an earlier one by more than noise and after which the
 * smoothed loss rises by a third of that fall, and half of the noise; or else the lowest of all. What comes later does not
 * count: a network that too high a rate has laid flat may have a low loss again. Noise is six standard errors σ of the
 * smoothed loss: with r the root mean square of lossᵢ − sᵢ, σ² = (1−β)/(1+β) · v and r² = 2β²/(1+β) · v for losses of
 * variance v, so that σ = r/β · √((1−β)/2).
 * @param points of rates in equal steps of their logarithm, rising
 * @returns undefined for too few points, or where the loss does not fall by more than noise
 */
export function readRates(points: readonly RatePoint[], beta: number): RateReading | undefined {
  // Mean age of what the mean holds, and one more: a step's loss is that of the rates before.
  const lag = Math.round(beta / (1 - beta)) + 1;
  const s = points.map((p) => p.smoothed);
  if (points.length < 4 * lag) return undefined;
  let [high, low, fall, scatter, noise] = [s[lag]!, lag, 0, 0, 0];
  for (let i = lag; i < s.length; i++) {
    scatter += (points[i]!.loss - s[i]!) ** 2;
    const error = (Math.sqrt(scatter / (i - lag + 1)) / beta) * Math.sqrt((1 - beta) / 2);
    noise = 6 * Math.max(error, high * 2 ** -24); // a loss has float32's rounding
    const rise = s[i]! - s[low]!;
    if (fall > noise && rise > Math.max(fall / 3, noise / 2)) break;
    high = Math.max(high, s[i]!);
    if (rise < 0) [low, fall] = [i, high - s[i]!];
  }
  if (!(fall > noise)) return undefined;
  const drop = (i: number) => s[i - lag]! - s[i]!;
  let steepest = 2 * lag;
  for (let i = steepest; i <= low; i++) if (drop(i) > drop(steepest)) steepest = i;
  const rate = (at: number) => points[Math.max(0, Math.round(at) - lag)]!.lr;
  const lowest = rate(low);
  return { lowest, steepest: rate(steepest - lag / 2), suggested: lowest / Math.sqrt(10) };
}

/**
 * Trains by a recipe for a few steps, each at a higher rate than the one before, from the weights that the recipe starts
 * from. The recipe's schedule does not count, but for its scaling to the batch. Nothing is saved.
 * @throws UsageError for rates that do not rise; DataError as `setUp`
 */
export async function findRate(
  recipe: Recipe,
  { device, onEvent = () => {}, signal, workers, ...given }: FindRateOptions,
): Promise<RateRange> {
  const o = resolveOptions('findRate', findRateOptions, given);
  const { from, to, steps, stopAt, beta = betaFor(steps) } = o;
  if (!(from < to))
    throw new UsageError(
      `findRate: expected rates that rise, got ${from} to ${to}\nThe first must be below the last, such as 1e-6 and 10.`,
    );
  const { data, t, stepsPerEpoch, loader: makeLoader } = await setUp(recipe, { workers });
  const note = (text: string) => onEvent({ type: 'note', text });
  await startFrom(t, recipe, note);
  const { values, batchBase, batchRule } = recipe.schedule;
  if (values !== undefined) note("the recipe's schedule has rates of its own (values): an lr beside them does nothing");
  // What the schedule makes of an lr of 1 for this batch.
  const unit = scheduleOf(
    { name: 'constant', batchBase, batchRule },
    { lr: 1, batch: recipe.batch, steps, stepsPerEpoch },
  )(0);
  onEvent({
    type: 'start',
    data: data.name,
    classes: data.classes,
    images: data.length,
    parameters: parameterCount(t.network),
  });
  const loader = makeLoader();
  const step = trainingStep(t, recipe, device, {
    frozen: t.parameterSet.select('freeze', recipe.freeze),
    onProgress: (done, total) => onEvent({ type: 'compile', done, total }),
  });
  const points: RatePoint[] = [];
  const reported = new Set<string>();
  let ended: RateRange['ended'] = 'whole';
  let [sum, best] = [0, Infinity];
  try {
    for (let i = 0; i < steps; i++) {
      if (signal?.aborted) {
        ended = 'aborted';
        break;
      }
      const { images, labels, bad } = await loader.next();
      for (const { path, reason } of bad) {
        if (!reported.has(path)) onEvent({ type: 'bad', file: path, reason });
        reported.add(path);
      }
      const lr = from * (to / from) ** (i / (steps - 1));
      const { loss, applied } = await step.run(images, labels, lr * unit, i);
      if (!applied) {
        ended = 'notFinite';
        break;
      }
      sum = beta * sum + (1 - beta) * loss;
      const smoothed = sum / (1 - beta ** (i + 1));
      const point = { lr, loss, smoothed };
      points.push(point);
      onEvent({ type: 'point', done: i + 1, total: steps, ...point });
      best = Math.min(best, smoothed);
      if (smoothed > stopAt * best) {
        ended = 'rose';
        break;
      }
    }
  } finally {
    await loader.close();
    step.dispose();
    for (const v of t.variables) v.dispose();
  }
  return { points, reading: readRates(points, beta), ended };
}
