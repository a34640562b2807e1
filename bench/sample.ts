/**
 * Sampling: how often something is run, and what is kept of it.
 *
 * The one idea: the npm package `benchmark` decides by its statistics when there are samples enough; every single run
 * is timed besides, and the best of them is the figure, since other load on the machine only ever adds time. What is to
 * be compared takes turns, so that noise falls on all alike.
 */
import { UsageError } from '../src/core/errors.ts';

export interface Work {
  readonly name: string;
  /** Runs once. A number is the run's own measure of its milliseconds; otherwise the whole call is timed. */
  run(): Promise<number | undefined>;
}

export interface SampleOptions {
  /** Seconds of measuring for each work, all turns together. Default 1. */
  readonly seconds?: number;
  /** Turns. Default 3. */
  readonly rounds?: number;
}

interface Deferred {
  resolve(): void;
  readonly benchmark: { readonly _original: { readonly work: (d: Deferred) => void } };
}

/** The harness, which is a development dependency: an installed package has none. */
async function harness() {
  try {
    return (await import('benchmark')).default;
  } catch (cause) {
    throw new UsageError(
      "bench: its harness, the package 'benchmark', is not installed\nRun it in a clone of the repository after npm ci, or install it: npm install benchmark@2.",
      { cause },
    );
  }
}

async function timeOnce(work: Work): Promise<number> {
  const start = performance.now();
  const own = await work.run();
  return own ?? performance.now() - start;
}

/** Milliseconds of single runs, for about some seconds. */
async function turn(work: Work, seconds: number): Promise<number[]> {
  const Benchmark = await harness();
  const ms: number[] = [];
  let failure: unknown;
  const bench = new Benchmark(work.name, {
    defer: true,
    async: true,
    delay: 0,
    minSamples: 3,
    minTime: 0.01,
    maxTime: seconds,
    // Its source is compiled elsewhere and sees nothing of this scope: the work is found through the argument.
    fn(deferred: Deferred) {
      deferred.benchmark._original.work(deferred);
    },
  });
  Object.assign(bench, {
    work(d: Deferred) {
      if (failure) return d.resolve();
      timeOnce(work)
        .then(
          (t) => void ms.push(t),
          (error) => {
            failure = error;
            bench.abort();
          },
        )
        .then(() => d.resolve());
    },
  });
  await new Promise<void>((resolve) => {
    bench.on('complete abort', () => resolve());
    bench.run({ async: true });
  });
  if (failure) throw failure;
  return ms;
}

/** Milliseconds of every run of each work, after runs of a fifth of a second or more, in which V8 optimises it. */
export async function sampleAll(
  works: readonly Work[],
  { seconds = 1, rounds = 3 }: SampleOptions = {},
): Promise<number[][]> {
  for (const work of works) {
    const until = performance.now() + Math.max(200, Math.min(600, 300 * seconds));
    for (let i = 0; i < 2 || performance.now() < until; i++) await work.run();
  }
  const all: number[][] = works.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, work] of works.entries()) {
      // One by one: a quick work gives more samples than a call takes arguments.
      for (const ms of await turn(work, seconds / rounds)) all[i]!.push(ms);
    }
  return all;
}

export const bestOf = (ms: readonly number[]): number => ms.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
export const medianOf = (ms: readonly number[]): number => [...ms].sort((a, b) => a - b)[ms.length >> 1] ?? Number.NaN;
export const geometricMean = (xs: readonly number[]): number =>
  Math.exp(xs.reduce((sum, x) => sum + Math.log(x), 0) / xs.length);
