/** The sweep of learning rates: its rates and smoothing, what is read off it, and that one can train at that. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyOf, normal } from '../../src/core/random.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { betaFor, type FindRateOptions, findRate, type RatePoint, readRates } from '../../src/train/findRate.ts';
import { type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { setUp } from '../../src/train/setup.ts';
import { trainingStep } from '../../src/train/step.ts';

const beta = betaFor(100);
/** Mean age of what the mean holds, and the step whose loss shows a rate. */
const lag = 5;
/** A sweep from 1e-6 to 10 over losses. */
function sweep(losses: readonly number[]): RatePoint[] {
  let sum = 0;
  return losses.map((loss, i) => {
    sum = beta * sum + (1 - beta) * loss;
    return { lr: 1e-6 * 1e7 ** (i / (losses.length - 1)), loss, smoothed: sum / (1 - beta ** (i + 1)) };
  });
}
const steps = Array.from({ length: 100 }, (_, i) => i);
const indexOf = (points: readonly RatePoint[], lr: number) => points.findIndex((p) => p.lr === lr);

describe('what is read off', () => {
  // Flat, down from step 40 to 60 by ever more, up again.
  const valley = (i: number) => (i < 40 ? 12 : i < 60 ? 12 - 6 * ((i - 40) / 20) ** 2 : 6 + (i - 60) / 2);

  it('the lowest point, the steepest, and half a power of ten below the lowest', () => {
    const points = sweep(steps.map(valley));
    const { lowest, steepest, suggested } = readRates(points, beta)!;
    expect(suggested).toBe(lowest / Math.sqrt(10));
    // The mean is lowest within its memory of the loss's lowest, and steepest likewise.
    expect(Math.abs(indexOf(points, lowest) - 60)).toBeLessThanOrEqual(lag);
    expect(Math.abs(indexOf(points, steepest) - 55)).toBeLessThanOrEqual(lag);
  });

  it('a lower loss after the rise, of a network laid flat, does not count', () => {
    const points = sweep(steps.map((i) => (i < 80 ? valley(i) : 2)));
    expect(Math.min(...points.map((p) => p.smoothed))).toBe(points.at(-1)!.smoothed);
    expect(indexOf(points, readRates(points, beta)!.lowest)).toBeLessThan(60 + lag);
  });

  it('noise alone gives nothing; a fall in noise is found', () => {
    let found = 0;
    for (let seed = 0; seed < 40; seed++) {
      const noise = normal(keyOf(seed), 100);
      expect(readRates(sweep(steps.map((i) => 12 + noise[i]!)), beta), `seed ${seed}`).toBeUndefined();
      const reading = readRates(sweep(steps.map((i) => valley(i) + 0.5 * noise[i]!)), beta);
      if (reading && reading.suggested > 1e-4 && reading.suggested < 1e-1) found++;
    }
    expect(found).toBe(40);
  });

  it('too few points, and a loss that stays, give nothing', () => {
    expect(readRates(sweep(steps.map(valley)).slice(0, 4 * lag - 1), beta)).toBeUndefined();
    expect(readRates(sweep(steps.map(() => 3)), beta)).toBeUndefined();
  });
});

describe('a recipe', () => {
  let device: Device;
  beforeAll(async () => {
    device = await WasmDevice.create({ threads: 1 });
  });
  afterAll(() => device.dispose());
  const tiny = (more: RecipeChanges = {}) =>
    resolveRecipe('demo', {
      width: 0.25,
      embeddingSize: 32,
      batch: 16,
      identities: 10,
      imagesPerIdentity: 10,
      evalIdentities: 0,
      evalEverySteps: 0,
      ...more,
    });
  const find = (more: RecipeChanges = {}, options: Partial<FindRateOptions> = {}) =>
    findRate(tiny(more), { device, workers: 0, ...options });
  /** Losses of steps at these rates. */
  async function lossesAt(rates: readonly number[]): Promise<number[]> {
    const recipe = tiny();
    const { t, loader: make } = await setUp(recipe, { workers: 0 });
    const step = trainingStep(t, recipe, device);
    const loader = make();
    const out: number[] = [];
    for (const [i, lr] of rates.entries()) {
      const { images, labels } = await loader.next();
      out.push((await step.run(images, labels, lr, i)).loss);
    }
    await loader.close();
    step.dispose();
    for (const v of t.variables) v.dispose();
    return out;
  }
  const meanOf = (x: readonly number[]) => x.reduce((a, b) => a + b, 0) / x.length;

  it('its loss falls, then rises; the suggested rate trains', { timeout: 120_000 }, async () => {
    const events: string[] = [];
    const { points, reading, ended } = await find({}, { onEvent: (e) => events.push(e.type) });
    expect(ended).toBe('whole');
    expect(events).toEqual(['start', ...events.filter((e) => e === 'compile'), ...points.map(() => 'point')]);
    expect(points).toHaveLength(100);
    points.forEach(({ lr, smoothed }, i) => {
      expect(lr).toBe(1e-6 * 1e7 ** (i / 99));
      // By its definition, summed the other way round: at most a rounding for each term.
      const weights = points.slice(0, i + 1).map((_, j) => beta ** (i - j));
      const expected = weights.reduce((s, w, j) => s + w * points[j]!.loss, 0) / weights.reduce((a, b) => a + b, 0);
      expect(Math.abs(smoothed - expected)).toBeLessThanOrEqual(4 * (i + 1) * Number.EPSILON * Math.abs(expected) * 5);
    });
    // The very steps of a run at these rates.
    expect(await lossesAt(points.slice(0, 25).map((p) => p.lr))).toEqual(points.slice(0, 25).map((p) => p.loss));

    const { lowest, suggested } = reading!;
    const near = (lr: number) => points[points.findIndex((p) => p.lr >= lr) + lag]!.smoothed;
    expect(near(lowest)).toBeLessThan(near(1e-5));
    expect(near(lowest)).toBeLessThan(Math.max(...points.slice(indexOf(points, lowest)).map((p) => p.smoothed)));
    const last = async (lr: number) => meanOf((await lossesAt(new Array(40).fill(lr))).slice(-10));
    expect(await last(suggested)).toBeLessThan(await last(suggested / 100));
  });

  it('rates are those that the recipe gives: a schedule for another batch scales them', async () => {
    const few = { steps: 25, from: 1e-3, to: 1e-2 };
    const plain = await find({}, few);
    const scaled = await find({ 'schedule.batchBase': 32 }, { ...few, from: 2e-3, to: 2e-2 });
    expect(scaled.points.map((p) => p.loss)).toEqual(plain.points.map((p) => p.loss));
    expect(scaled.points.map((p) => p.lr)).toEqual(plain.points.map((p) => 2 * p.lr));
  });

  it('ends where the loss rises, is not finite, or the caller stops', async () => {
    const rose = await find({}, { stopAt: 1.0001 });
    expect(rose.ended).toBe('rose');
    const smoothed = rose.points.map((p) => p.smoothed);
    expect(smoothed.at(-1)).toBeGreaterThan(1.0001 * Math.min(...smoothed));
    expect((await find({ head: 'softmax' }, { from: 1e10, to: 1e38, stopAt: 1e38 })).ended).toBe('notFinite');
    const stop = new AbortController();
    const stopped = await find(
      {},
      { signal: stop.signal, onEvent: (e) => e.type === 'point' && e.done === 5 && stop.abort() },
    );
    expect([stopped.ended, stopped.points.length, stopped.reading]).toEqual(['aborted', 5, undefined]);
  });

  it('refuses rates that do not rise and options out of range', async () => {
    await expect(find({}, { from: 1, to: 1 })).rejects.toThrow(/expected rates that rise, got 1 to 1/);
    await expect(find({}, { steps: 3 })).rejects.toThrow(/steps expected a whole number of at least 25, got 3/);
  });
});
