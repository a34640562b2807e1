/** An optimizer: an update rule as a graph, and the state it keeps. */
import { type Described, type OptionSpecs, type Options, oneOf } from '../core/options.ts';
import type { Tensor, Variable } from '../core/tensor.ts';
import type { Parameter } from '../nn/module.ts';
import { mul } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';

export interface Optimizer {
  readonly parameters: readonly Parameter[];
  /** Slots that a checkpoint must hold. */
  readonly state: readonly Variable[];
  /**
   * Assigns new values to parameters and slots; `lr` is a scalar input, so a schedule never recompiles. A parameter without
   * a gradient is frozen: it and its slots stay as they are.
   */
  update(gradients: readonly (Tensor | undefined)[], lr: Tensor, ctx: TraceContext): void;
}

/** What differs from parameter to parameter, for every optimizer. */
export interface ParameterRules {
  /** Weight decay of each parameter. Default 0 everywhere. */
  readonly decay?: (p: Parameter) => number;
  /** Factor on the learning rate of each parameter. Default 1 everywhere. */
  readonly rate?: ((p: Parameter) => number) | undefined;
}

/** The learning rate of a parameter. */
export const rateOf = (lr: Tensor, p: Parameter, rate: ParameterRules['rate']): Tensor => {
  const factor = rate?.(p) ?? 1;
  return factor === 1 ? lr : mul(lr, factor);
};

/** Which parameters' steps LAMB and LARS scale; many leave biases, norm layers and slopes out. */
export const adapts = oneOf(
  ['all', 'matrices'],
  'all',
  'choice of parameters whose steps are scaled: all, or those of two axes and more',
);

/** An optimizer by name, as recipes know it. */
export interface OptimizerEntry<S extends OptionSpecs = OptionSpecs> extends Described<S> {
  create(parameters: readonly Parameter[], options?: Options<S> & ParameterRules): Optimizer;
}

/** Makes an entry; the types of its options are those of its `options`. */
export const defineOptimizer = <S extends OptionSpecs>(entry: OptimizerEntry<S>): OptimizerEntry<S> => entry;
