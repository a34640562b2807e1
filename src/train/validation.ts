/**
 * Evaluation during training, on any number of sets.
 *
 * Where the run averages its weights, a second network of the same kind is filled with the averages and evaluated in place
 * of the one that trains: it is what the checkpoint will be used as.
 */
import type { PairSet } from '../data/dataset.ts';
import { readImage } from '../data/readImage.ts';
import type { Device } from '../device/device.ts';
import type { VerificationResult } from '../evaluate/verification.ts';
import { describeNetwork, networkOf } from '../models/index.ts';
import { initialize, loadState, variablesOf } from '../nn/module.ts';
import { validationSets } from './data.ts';
import { type Evaluator, evaluatorOf } from './evaluation.ts';
import type { Recipe } from './recipe.ts';
import type { Evaluation } from './state.ts';
import type { Trainable } from './trainable.ts';

/** A set's outcome with all that reports and pictures show. */
export interface SetResult {
  readonly set: string;
  readonly evaluator: Evaluator;
  readonly result: VerificationResult;
  readonly embeddings: Float32Array;
  readonly dim: number;
}

export interface Validation {
  /** The sets' names in the recipe's order; none where there is nothing to evaluate on. */
  readonly names: readonly string[];
  run(): Promise<SetResult[]>;
  dispose(): Promise<void>;
}

/** Reads the pictures of all sets once and keeps them. Throws DataError for sets that cannot be evaluated. */
export async function validationOf(t: Trainable, recipe: Recipe, device: Device): Promise<Validation> {
  const averaged = t.average && initialize(networkOf(describeNetwork(t.network), 'averaged network'), recipe.seed);
  if (averaged) averaged.preprocessing = t.network.preprocessing;
  const network = averaged ?? t.network;
  const size = network.preprocessing.inputSize;
  const settings = {
    protocol: recipe.evalProtocol,
    flip: recipe.evalFlip,
    batchStatistics: recipe.evalBatchStatistics,
  };
  const evaluators: { readonly set: string; readonly evaluator: Evaluator }[] = [];
  const open = (pairs: PairSet) => evaluatorOf(pairs, (s) => readImage(s, size), network, device, settings);
  for (const { name, pairs } of await validationSets(recipe))
    evaluators.push({ set: name, evaluator: await open(pairs) });
  return {
    names: evaluators.map((e) => e.set),
    async run() {
      if (averaged) loadState(variablesOf(averaged), await t.average!.values(), 'averaged weights');
      const results: SetResult[] = [];
      for (const { set, evaluator } of evaluators) results.push({ set, evaluator, ...(await evaluator.run()) });
      return results;
    },
    async dispose() {
      for (const { evaluator } of evaluators) await evaluator.dispose();
      if (averaged) for (const v of variablesOf(averaged)) v.dispose();
    },
  };
}

/** What checkpoints, logs and messages keep of a result. */
export const evaluationOf = ({ set, evaluator, result: r }: SetResult, recipe: Recipe, step: number): Evaluation => ({
  step,
  set,
  data: evaluator.name,
  pairs: r.pairs,
  protocol: r.protocol,
  flip: recipe.evalFlip,
  accuracy: r.accuracy,
  std: r.std,
  threshold: r.threshold,
  metric: r.metric,
});

/** Mean accuracy over the sets; undefined without any. */
export const meanAccuracy = (results: readonly SetResult[]): number | undefined =>
  results.length ? results.reduce((sum, r) => sum + r.result.accuracy, 0) / results.length : undefined;
