/** Schedules against the rates of torch.optim.lr_scheduler (test/reference/schedules.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type PlateauOptions, plateauNext, plateauStart } from '../../src/optim/plateau.ts';
import {
  constantRate,
  cosineRate,
  epochsToSteps,
  oneCycleRate,
  piecewiseRate,
  polyRate,
  type RateSchedule,
  scaledToBatch,
  stepRate,
  warmUp,
} from '../../src/optim/rates.ts';
import { type NamedSchedule, plateauOf, scheduleOf, schedules } from '../../src/optim/schedules.ts';

const torch = JSON.parse(readFileSync(new URL('../reference/schedules.json', import.meta.url), 'utf8')) as Record<
  | 'step'
  | 'poly'
  | 'cosine'
  | 'oneCycle'
  | 'oneCycleOptions'
  | 'warmDelayed'
  | 'warmAtOnce'
  | 'warmStart'
  | 'warmPoly'
  | 'epochs',
  number[]
> & { results: number[]; plateaus: { options: PlateauOptions; rates: number[] }[] };

// PyTorch goes from rate to rate in float64, so that its own rounding gathers over the steps.
const close = (got: number, want: number, what: string) =>
  expect(Math.abs(got - want), what).toBeLessThanOrEqual(1e-12 * Math.max(want, 0.1));

describe('rates', () => {
  const made: readonly (readonly [keyof typeof torch, RateSchedule])[] = [
    ['step', stepRate(0.1, [15, 4, 9])],
    ['step', piecewiseRate([4, 9, 15], [0.1, 0.01, 0.001, 0.0001])],
    ['poly', polyRate(0.1, 12, { power: 2 })],
    ['cosine', cosineRate(0.1, 15, { end: 0.002 })],
    ['oneCycle', oneCycleRate(0.1, 20)],
    ['oneCycleOptions', oneCycleRate(0.1, 17, { rise: 0.4, divFactor: 10, finalDivFactor: 100 })],
    ['warmDelayed', warmUp(5, cosineRate(0.1, 10), { delay: true })],
    ['warmAtOnce', warmUp(5, stepRate(0.1, [3, 8], 0.5))],
    ['warmStart', warmUp(5, stepRate(0.1, [3, 8], 0.5), { start: 0.25 })],
  ];
  it.each(made)('%s as PyTorch', (name, rate) => {
    const want = torch[name] as number[];
    expect(want.length).toBeGreaterThan(10);
    want.forEach((lr, step) => {
      close(rate(step), lr, `step ${step}`);
    });
  });

  it('keep their last rate when they are over', () => {
    expect(polyRate(0.1, 10, { end: 0.01 })(1000)).toBe(0.01);
    expect(cosineRate(0.1, 10, { end: 0.01 })(1000)).toBe(0.01);
    const cycle = oneCycleRate(0.1, 10);
    expect(cycle(1000)).toBe(cycle(9));
  });

  it('epochs are steps', () => {
    expect(epochsToSteps([12, 15, 18.5], 100)).toEqual([1200, 1500, 1850]);
    expect(epochsToSteps([0.333], 10)).toEqual([3]);
  });

  it('scale to the batch', () => {
    const given = { rates: [0.004, 0.002], steps: [40_000, 60_000] };
    // k = floor(512/200) = 2.
    expect(scaledToBatch(given, { base: 512, batch: 200, rule: 'whole' })).toEqual({
      rates: [0.002, 0.001],
      steps: [80_000, 120_000],
    });
    expect(scaledToBatch(given, { base: 512, batch: 1024 })).toEqual({
      rates: [0.008, 0.004],
      steps: [20_000, 30_000],
    });
    expect(scaledToBatch(given, { base: 512, batch: 512, rule: 'whole' })).toEqual(given);
    expect(() => scaledToBatch(given, { base: 512, batch: 513, rule: 'whole' })).toThrow(
      "scaledToBatch: expected a batch of at most 512 for the rule 'whole', got 513",
    );
  });

  it.each([
    [() => constantRate(Number.NaN), 'constantRate: expected a rate of at least 0, got NaN'],
    [() => piecewiseRate([1], [0.1]), 'piecewiseRate: expected 2 rates for 1 boundaries, got 1'],
    [() => piecewiseRate([2, 1], [1, 2, 3]), 'piecewiseRate: expected boundaries that rise, got 1 at 1'],
    [() => stepRate(0.1, [], 0), 'stepRate: expected gamma above 0, got 0'],
    [() => epochsToSteps([1], 0), 'epochsToSteps: expected a whole number of steps above 0, got 0'],
    [() => polyRate(0.1, 1.5), 'polyRate: expected a whole number of steps above 0, got 1.5'],
    [() => polyRate(0.1, 10, { power: 0 }), 'polyRate: expected a power above 0, got 0'],
    [() => cosineRate(0.1, 10, { end: -1 }), 'cosineRate: expected a rate of at least 0, got -1'],
    [() => oneCycleRate(0.1, 3), 'oneCycleRate: expected rise·steps between 1 and the steps, got 0.3 of 3'],
    [() => oneCycleRate(0.1, 30, { divFactor: 0 }), 'oneCycleRate: divFactor expected a number above 0, got 0'],
    [() => warmUp(-1, constantRate(1)), 'warmUp: expected a whole number of steps above 0, got -1'],
    [() => scaledToBatch({ rates: [], steps: [] }, { base: 512, batch: 0 }), 'expected batch sizes above 0, got 0'],
  ] as const)('refuse what makes no sense: %s', (make, message) => {
    expect(make).toThrow(message);
  });
});

describe('schedules by name', () => {
  const run = { lr: 0.1, batch: 64, steps: 20, stepsPerEpoch: 5 };
  const all: readonly (readonly [keyof typeof torch, NamedSchedule, Partial<typeof run>?])[] = [
    ['step', { name: 'step', milestones: [0.2, 0.45, 0.75] }],
    ['step', { name: 'step', milestones: [4, 9, 15], unit: 'steps' }],
    ['step', { name: 'step', milestones: [0.8, 1.8, 3], unit: 'epochs' }],
    ['step', { name: 'step', milestones: [4, 9, 15], unit: 'steps', values: [0.1, 0.01, 0.001, 0.0001] }, { lr: 7 }],
    ['poly', { name: 'poly', power: 2 }, { steps: 12 }],
    ['cosine', { name: 'cosine', end: 0.002 }, { steps: 15 }],
    ['oneCycle', { name: 'one-cycle' }],
    ['oneCycleOptions', { name: 'one-cycle', rise: 0.4, divFactor: 10, finalDivFactor: 100 }, { steps: 17 }],
    ['warmDelayed', { name: 'cosine', warmupSteps: 5, warmupDelay: true }, { steps: 15 }],
    ['warmAtOnce', { name: 'step', milestones: [3, 8], unit: 'steps', gamma: 0.5, warmupSteps: 5 }],
    ['warmAtOnce', { name: 'step', milestones: [3, 8], unit: 'steps', gamma: 0.5, warmupSteps: 9, warmupEpochs: 1 }],
    ['warmStart', { name: 'step', milestones: [0.15, 0.4], gamma: 0.5, warmupSteps: 5, warmupStart: 0.25 }],
    ['warmPoly', { name: 'poly', power: 2, warmupSteps: 6, warmupStart: 0, warmupDelay: true }],
    ['epochs', { name: 'step', milestones: [1, 3], unit: 'epochs', gamma: 0.2, warmupEpochs: 1, warmupPower: 2 }],
    // Given for other batches: a rate of 0.8 for 512 is 0.1 for 64, and a step of the one eight of the other.
    ['step', { name: 'step', milestones: [0.2, 0.45, 0.75], batchBase: 512 }, { lr: 0.8 }],
    ['step', { name: 'step', milestones: [1, 2.25, 3.75], unit: 'steps', batchBase: 256 }, { lr: 0.4 }],
    [
      'warmAtOnce',
      { name: 'step', milestones: [6, 16], unit: 'steps', gamma: 0.5, warmupSteps: 10, batchBase: 32 },
      { lr: 0.05 },
    ],
    ['cosine', { name: 'cosine', end: 0.006, batchBase: 200, batchRule: 'whole' }, { lr: 0.3, steps: 15 }],
    [
      'step',
      {
        name: 'step',
        milestones: [2, 4.5, 7.5],
        unit: 'steps',
        values: [0.2, 0.02, 0.002, 0.0002],
        batchBase: 129,
        batchRule: 'whole',
      },
    ],
  ];
  it.each(all.map(([n, s, c = {}]) => [n, s, c] as const))('%s as PyTorch: %j', (name, schedule, changes) => {
    const rate = scheduleOf(schedule, { ...run, ...changes });
    (torch[name] as number[]).forEach((lr, step) => {
      close(rate(step), lr, `step ${step}`);
    });
  });

  it('all of them take warm-up and batch, and begin at the rate of the run', () => {
    for (const { name } of schedules) {
      if (name === 'one-cycle') continue; // it rises by itself
      expect(scheduleOf({ name }, run)(0), name).toBe(0.1);
      expect(scheduleOf({ name, warmupSteps: 4, batchBase: 128 }, run)(0), name).toBeCloseTo(0.05 / 8, 12);
    }
  });

  it.each([
    [{ name: 'steps' }, "schedule: expected one of step, constant, poly, cosine, one-cycle, plateau, got 'steps'"],
    [{ name: 'step', milestones: [12, 15, 18] }, 'step: expected milestones from 0 to 1, shares of the run, got 12'],
    [{ name: 'step', values: [0.1] }, 'piecewiseRate: expected 3 rates for 2 boundaries, got 1'],
    [{ name: 'cosine', gamma: 0.1 }, "got 'gamma'"],
    [
      { name: 'cosine', warmupSteps: 20, warmupDelay: true },
      "cosine: expected a warm-up of less than the run's 20 steps",
    ],
    [{ name: 'constant', batchBase: 32, batchRule: 'whole' }, "a batch of at most 32 for the rule 'whole', got 64"],
  ] as const)('refuse what makes no sense: %j', (schedule, message) => {
    expect(() => scheduleOf(schedule, run)).toThrow(message);
  });
});

describe('plateau', () => {
  it.each(torch.plateaus.map((p) => [p.options, p.rates] as const))(
    '%j by name, in shares of the rate',
    (options, rates) => {
      const { mode = 'min', ...rules } = options;
      const schedule = { name: 'plateau', metric: mode === 'min' ? 'loss' : 'accuracy', warmupSteps: 3, ...rules };
      const rate = scheduleOf(schedule, { lr: 0.1, batch: 8, steps: 50, stepsPerEpoch: 5 });
      let state = plateauStart(1);
      torch.results.forEach((metric, i) => {
        state = plateauNext(state, metric, plateauOf(schedule, 0.1));
        close(rate(2 + i) * state.lr, rates[i]!, `result ${i}`);
      });
      expect(schedules.filter((s) => s.byResults).map((s) => s.name)).toEqual(['plateau']);
    },
  );

  it.each(torch.plateaus.map((p) => [p.options, p.rates] as const))('%j as PyTorch', (options, rates) => {
    let state = plateauStart(0.1);
    const got = torch.results.map((metric) => {
      // A checkpoint holds the state as JSON.
      state = plateauNext(JSON.parse(JSON.stringify(state)), metric, options);
      return state.lr;
    });
    expect(new Set(rates).size).toBeGreaterThan(1);
    got.forEach((lr, i) => {
      close(lr, rates[i]!, `result ${i}`);
    });
  });

  it('takes no NaN for an improvement', () => {
    const state = plateauNext(plateauStart(1), Number.NaN, { patience: 3 });
    expect(state).toEqual({ lr: 1, best: null, bad: 1, cooldown: 0 });
    expect(plateauNext(state, 5)).toEqual({ lr: 1, best: 5, bad: 0, cooldown: 0 });
  });

  it('refuses what makes no sense', () => {
    expect(() => plateauNext(plateauStart(1), 1, { factor: 1 })).toThrow(
      'factor expected a number above 0 and below 1, got 1',
    );
    expect(() => plateauNext(plateauStart(1), 1, { patience: -1 })).toThrow(
      'patience expected a whole number of at least 0, got -1',
    );
  });
});
