/** The registry of optimizers, as recipes name them. */
import { entryOf } from '../core/options.ts';
import type { Parameter } from '../nn/module.ts';
import { adadeltaEntry } from './adadelta.ts';
import { adagradEntry } from './adagrad.ts';
import { adamEntry, adamWEntry } from './adam.ts';
import { lambEntry } from './lamb.ts';
import { larsEntry } from './lars.ts';
import type { Optimizer, OptimizerEntry, ParameterRules } from './optimizer.ts';
import { rmspropEntry } from './rmsprop.ts';
import { sgdEntry } from './sgd.ts';

export const optimizers: readonly OptimizerEntry[] = [
  sgdEntry,
  adamEntry,
  adamWEntry,
  adagradEntry,
  adadeltaEntry,
  rmspropEntry,
  lambEntry,
  larsEntry,
] as unknown as readonly OptimizerEntry[];

/**
 * Makes an optimizer by name.
 * @throws UsageError for an unknown name, naming the nearest, or options it refuses
 */
export const createOptimizer = (
  name: string,
  parameters: readonly Parameter[],
  options: Readonly<Record<string, unknown>> & ParameterRules = {},
): Optimizer => entryOf('optimizer', optimizers, name).create(parameters, options);
