/**
 * What a recipe trains: network, head, terms beside it, a teacher, the optimizer, and the averaged weights.
 *
 * The one idea: all that changes while training is one list of variables in a fixed order, so a checkpoint is that list and
 * nothing else. The teacher never changes and is no part of it.
 */
import type { Variable } from '../core/tensor.ts';
import { Distillation } from '../heads/distillation.ts';
import { createLoss } from '../heads/index.ts';
import type { Loss } from '../heads/loss.ts';
import { create, networkOf } from '../models/index.ts';
import type { FaceNetwork, Preprocessing } from '../models/network.ts';
import { type Module, type Parameter, parametersOf, variablesOf } from '../nn/module.ts';
import { type Ema, ema } from '../optim/ema.ts';
import { createOptimizer } from '../optim/index.ts';
import type { Optimizer } from '../optim/optimizer.ts';
import { ParameterSet } from './patterns.ts';
import { type Pruning, pruningOf } from './prune.ts';
import type { Recipe } from './recipe.ts';
import { fromWeights } from './recipeFields.ts';

/** A loss beside the head. */
export interface Term {
  readonly name: string;
  readonly weight: number;
  readonly loss: Loss;
}

export interface Trainable {
  readonly network: FaceNetwork;
  readonly head: Loss;
  readonly terms: readonly Term[];
  /** A network that the trained one learns from. */
  readonly teacher?: { readonly network: FaceNetwork; readonly weight: number; readonly distillation: Distillation };
  readonly optimizer: Optimizer;
  readonly parameterSet: ParameterSet;
  readonly average: Ema | undefined;
  readonly pruning: Pruning | undefined;
  /** Everything a checkpoint holds, in a fixed order. */
  readonly variables: readonly Variable[];
}

const optionsOf = ({ name: _, ...options }: { readonly name: string; readonly [o: string]: unknown }) => options;

/**
 * The recipe's network, its numbers still empty.
 * @param described metadata of weights whose network it is, for recipes that leave it to them
 */
export function networkFor(recipe: Recipe, described: Readonly<Record<string, string>> = {}): FaceNetwork {
  const network =
    recipe.model.name === fromWeights
      ? networkOf(described, recipe.from ?? 'weights')
      : create(recipe.model.name, optionsOf(recipe.model));
  network.preprocessing = { ...network.preprocessing, ...(recipe.preprocessing as Partial<Preprocessing>) };
  return network;
}

/** The recipe's head for a network and a number of people, its numbers still empty. */
export const headFor = (recipe: Recipe, network: FaceNetwork, classes: number): Loss =>
  createLoss(recipe.head.name, { classes, embeddingSize: network.options.embeddingSize }, optionsOf(recipe.head));

/** The recipe's losses beside the head. */
export const termsFor = (recipe: Recipe, network: FaceNetwork, classes: number): Term[] =>
  Object.entries(recipe.terms).map(([name, { weight, ...options }]) => ({
    name,
    weight,
    loss: createLoss(name, { classes, embeddingSize: network.options.embeddingSize }, options),
  }));

/** Weight decay and learning-rate factors by the recipe's rules. */
export const rulesFor = (set: ParameterSet, recipe: Pick<Recipe, 'weightDecay' | 'decayRules' | 'rateRules'>) => {
  const decayFactor = set.factors('decayRules', recipe.decayRules);
  return {
    decay: (p: Parameter) => recipe.weightDecay * decayFactor(p),
    rate: set.factors('rateRules', recipe.rateRules, true),
  };
};

/** Puts together what is trained. */
export function trainable(
  network: FaceNetwork,
  head: Loss,
  recipe: Recipe,
  { terms = [], teacher }: { readonly terms?: readonly Term[]; readonly teacher?: FaceNetwork | undefined } = {},
): Trainable {
  const { weight, form, raw } = recipe.distillation;
  const distilled = teacher && {
    network: teacher,
    weight,
    distillation: new Distillation({
      form,
      raw,
      studentSize: network.options.embeddingSize,
      teacherSize: teacher.options.embeddingSize,
    }),
  };
  const losses: Module[] = [head, ...terms.map((t) => t.loss), ...(distilled ? [distilled.distillation] : [])];
  const parameterSet = new ParameterSet(network, losses);
  const parameters = [network, ...losses].flatMap(parametersOf);
  const optimizer = createOptimizer(recipe.optimizer.name, parameters, {
    ...optionsOf(recipe.optimizer),
    ...rulesFor(parameterSet, recipe),
  });
  const pruning = pruningOf(recipe, parameterSet);
  const { decay, warmUp } = recipe.ema;
  const average = decay > 0 ? ema(variablesOf(network), { decay, warmUp }) : undefined;
  return {
    network,
    head,
    terms,
    ...(distilled && { teacher: distilled }),
    optimizer,
    parameterSet,
    average,
    pruning,
    variables: [
      ...[network, ...losses].flatMap(variablesOf),
      ...optimizer.state,
      ...(average?.state ?? []),
      ...(pruning?.state ?? []),
    ],
  };
}
