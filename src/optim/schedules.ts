/**
 * The registry of schedules: how the learning rate goes over a run, as recipes name it.
 *
 * The one idea: a schedule is described by data (this file) and becomes a pure function of the step (rates.ts) once the run
 * is known: its rate, batch and steps. Warm-up and scaling to the batch are the same for all, so they stand here once.
 */
import { UsageError } from '../core/errors.ts';
import {
  type Described,
  entryOf,
  flag,
  number,
  numbers,
  type OptionSpecs,
  type Options,
  oneOf,
  optional,
  type ResolvedOptions,
  resolveOptions,
  whole,
} from '../core/options.ts';
import { type PlateauOptions, plateauRules } from './plateau.ts';
import {
  constantRate,
  cosineRate,
  epochsToSteps,
  oneCycleOptions,
  oneCycleRate,
  piecewiseRate,
  polyRate,
  type RateSchedule,
  scaledToBatch,
  stepRate,
  warmUp,
  warmUpOptions,
} from './rates.ts';

/** What a schedule needs to know of its run. */
export interface RunLength {
  /** The run's learning rate, the highest of most schedules. */
  readonly lr: number;
  /** Pictures per step. */
  readonly batch: number;
  readonly steps: number;
  readonly stepsPerEpoch: number;
}

/** A schedule by name, as recipes know it. */
export interface ScheduleEntry<S extends OptionSpecs = OptionSpecs> extends Described<S> {
  /**
   * Whether results lower the rate as well: `create` gives the warm-up alone, and the run multiplies it by the `lr` of a
   * state that begins as `plateauStart(1)` and goes on by `plateauNext(state, result, plateauOf(schedule, lr))`.
   */
  readonly byResults: boolean;
  create(options: Options<S>, run: RunLength): RateSchedule;
}

const common = {
  warmupSteps: whole({ from: 0 }, 0, 'number of steps in which the rate rises; 0 for none'),
  warmupEpochs: optional(number({ from: 0 }, 1, 'number of epochs in which the rate rises, in place of warmupSteps')),
  warmupPower: warmUpOptions.power,
  warmupStart: warmUpOptions.start,
  warmupDelay: flag(false, 'switch for the schedule to begin after the warm-up and to last the steps that are left'),
  batchBase: optional(whole({ from: 1 }, 512, 'batch size that rates and step numbers are given for, if not the own')),
  batchRule: oneOf(
    ['linear', 'whole'],
    'linear',
    'scaling from batchBase to the batch: rates in proportion, or divided by the whole part of batchBase/batch',
  ),
};
type Common = typeof common;

/** What a schedule itself decides: `rates` and `steps` are scaled to the batch already. */
interface Course {
  readonly lr: number;
  readonly steps: number;
  /** Rates, and steps, that the options give for the base batch, for the batch of the run. */
  rates(rates: readonly number[]): number[];
  stepNumbers(steps: readonly number[]): number[];
  readonly stepsPerEpoch: number;
}

function defineSchedule<S extends OptionSpecs>({
  byResults = false,
  options: own,
  rate,
  ...described
}: Described<S> & {
  readonly byResults?: boolean;
  rate(options: ResolvedOptions<S>, course: Course): RateSchedule;
}): ScheduleEntry<S & Common> {
  const options = { ...own, ...common };
  return {
    ...described,
    byResults,
    options,
    create(given, { lr, batch, steps, stepsPerEpoch }) {
      const o = resolveOptions(described.name, options, given) as ResolvedOptions<S> & ResolvedOptions<Common>;
      const scaled = (rates: readonly number[], at: readonly number[]) =>
        o.batchBase === undefined
          ? { rates: [...rates], steps: [...at] }
          : scaledToBatch({ rates, steps: at }, { base: o.batchBase, batch, rule: o.batchRule });
      const [warm] =
        o.warmupEpochs === undefined
          ? scaled([], [o.warmupSteps]).steps
          : epochsToSteps([o.warmupEpochs], stepsPerEpoch);
      const left = o.warmupDelay ? steps - warm! : steps;
      if (left < 1)
        throw new UsageError(
          `${described.name}: expected a warm-up of less than the run's ${steps} steps, got ${warm}\nShorten it, or leave warmupDelay out.`,
        );
      const schedule = rate(o, {
        lr: scaled([lr], []).rates[0]!,
        steps: left,
        stepsPerEpoch,
        rates: (r) => scaled(r, []).rates,
        stepNumbers: (s) => scaled([], s).steps,
      });
      return warmUp(warm!, schedule, {
        power: o.warmupPower,
        delay: o.warmupDelay,
        ...(o.warmupStart !== undefined && { start: o.warmupStart }),
      });
    },
  };
}

const stepOptions = {
  milestones: numbers({ from: 0 }, [0.6, 0.85], 'points of the run where the rate falls'),
  unit: oneOf(['share', 'epochs', 'steps'], 'share', 'unit of the milestones: share of the run, epochs or steps'),
  gamma: number({ above: 0 }, 0.1, 'factor on the rate at each milestone'),
  values: optional(
    numbers({ from: 0 }, [], 'rates before the first milestone and from each one on, in place of lr and gamma'),
  ),
};

function milestonesOf(
  { milestones, unit }: ResolvedOptions<typeof stepOptions>,
  { steps, stepsPerEpoch, stepNumbers }: Course,
): number[] {
  if (unit === 'steps') return stepNumbers(milestones);
  if (unit === 'epochs') return epochsToSteps(milestones, stepsPerEpoch);
  const beyond = milestones.find((m) => m > 1);
  if (beyond !== undefined)
    throw new UsageError(
      `step: expected milestones from 0 to 1, shares of the run, got ${beyond}\nSet unit to 'epochs' or 'steps' where they are those.`,
    );
  return milestones.map((m) => Math.round(m * steps));
}

const end = number({ from: 0 }, 0, 'last rate');

const plateauOptions = {
  metric: oneOf(['loss', 'accuracy'], 'loss', 'result that is watched'),
  ...plateauRules,
};

/** Every schedule, the usual one first. */
export const schedules: readonly ScheduleEntry[] = [
  defineSchedule({
    name: 'step',
    means: 'a drop by a factor at each milestone',
    source: "PyTorch's MultiStepLR; with values TensorFlow's piecewise_constant",
    options: stepOptions,
    rate: (o, course) =>
      o.values
        ? piecewiseRate(milestonesOf(o, course), course.rates(o.values))
        : stepRate(course.lr, milestonesOf(o, course), o.gamma),
  }),
  defineSchedule({
    name: 'constant',
    means: 'the same rate at every step',
    source: "PyTorch's ConstantLR",
    options: {},
    rate: (_, { lr }) => constantRate(lr),
  }),
  defineSchedule({
    name: 'poly',
    means: 'down to the last rate along a power of the share of the run that is left',
    source: "PyTorch's PolynomialLR; arcface_torch has power 2 and warmupDelay",
    options: { power: number({ above: 0 }, 1, 'power of the share that is left'), end },
    rate: (o, { lr, steps, rates }) => polyRate(lr, steps, { power: o.power, end: rates([o.end])[0]! }),
  }),
  defineSchedule({
    name: 'cosine',
    means: 'down to the last rate along half a cosine',
    source: "Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5; PyTorch's CosineAnnealingLR",
    options: { end },
    rate: (o, { lr, steps, rates }) => cosineRate(lr, steps, { end: rates([o.end])[0]! }),
  }),
  defineSchedule({
    name: 'one-cycle',
    means: 'up to the rate and far down again along cosines',
    source: "Smith & Topin 2018, arXiv 1708.07120; PyTorch's OneCycleLR",
    options: oneCycleOptions,
    rate: ({ rise, divFactor, finalDivFactor }, { lr, steps }) =>
      oneCycleRate(lr, steps, { rise, divFactor, finalDivFactor }),
  }),
  defineSchedule({
    name: 'plateau',
    means: 'a drop whenever a result has stopped improving',
    source: "PyTorch's ReduceLROnPlateau",
    options: plateauOptions,
    byResults: true,
    rate: (_, { lr }) => constantRate(lr),
  }),
] as unknown as readonly ScheduleEntry[];

/** A name from a registry with the options of that entry. */
export interface NamedSchedule {
  readonly name: string;
  readonly [option: string]: unknown;
}

/**
 * The rate of every step of a run.
 *
 *     scheduleOf({ name: 'step', milestones: [36, 52, 58], unit: 'epochs' }, { lr: 0.1, batch: 512, steps, stepsPerEpoch })
 *
 * @throws UsageError for an unknown name, naming the nearest, or options it refuses
 */
export const scheduleOf = ({ name, ...options }: NamedSchedule, run: RunLength): RateSchedule =>
  entryOf('schedule', schedules, name).create(options, run);

/**
 * What a 'plateau' schedule passes to `plateauNext`. Its states are in shares of the run's rate `lr`, so that warm-up and
 * scaling to the batch stay the schedule's: they begin with `plateauStart(1)`.
 * @throws UsageError for options it refuses
 */
export function plateauOf({ name: _, ...given }: NamedSchedule, lr: number): PlateauOptions {
  const { metric, factor, patience, threshold, thresholdMode, cooldown, minLr, eps } = resolveOptions(
    'plateau',
    { ...plateauOptions, ...common },
    given,
  );
  const mode = metric === 'loss' ? 'min' : 'max';
  return { mode, factor, patience, threshold, thresholdMode, cooldown, minLr: minLr / lr, eps: eps / lr };
}
