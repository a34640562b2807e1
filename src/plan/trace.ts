/**
 * From a user's function to a graph.
 *
 * The one idea: the function runs once on placeholders and says what it computes; state changes are outputs of the
 * graph, registered by `ctx.assign`, so nothing is lost or repeated when the plan is replayed.
 */
import { ShapeError, UsageError } from '../core/errors.ts';
import { fold, type Key } from '../core/random.ts';
import { sameShape, showShape } from '../core/shape.ts';
import { Node, placeholderOp, Tensor, type TensorSpec, type Variable } from '../core/tensor.ts';
import { ancestors } from '../grad.ts';

export interface Graph {
  /** Placeholders by name, in order. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly outputs: ReadonlyMap<string, Tensor>;
  /** New values of variables; every read in the graph sees the old ones. */
  readonly assigns: ReadonlyMap<Variable, Tensor>;
}

/** What a traced function gets besides its inputs. */
export class TraceContext {
  /** True while training: batch norm uses the batch's moments, dropout drops. */
  readonly training: boolean;
  /** Random key tensor (int32 [2]) of this call, for dropout; undefined where the call gave none. */
  readonly key: Tensor | undefined;
  /** What part of an update this pass is: 1/parts where gradients are accumulated. State moves by so much. */
  readonly share: number;
  readonly assigns = new Map<Variable, Tensor>();
  constructor(training: boolean, key?: Tensor, share = 1) {
    this.training = training;
    this.key = key;
    this.share = share;
  }
  /** The variable holds `value` after the call. Reads in this function see the old numbers. */
  assign(variable: Variable, value: Tensor): void {
    if (this.assigns.has(variable))
      throw new UsageError(
        `assign: '${variable.name}' is assigned twice in one function\nCombine the updates into one.`,
      );
    if (!sameShape(variable.shape, value.shape) || variable.dtype !== value.dtype)
      throw new ShapeError(
        `assign: expected ${variable.dtype}${showShape(variable.shape)} for '${variable.name}', got ${value}\nCast or reshape the value.`,
      );
    this.assigns.set(variable, value);
  }
}

export const placeholder = (name: string, spec: TensorSpec): Tensor =>
  new Node(placeholderOp, [], { name }, [spec]).tensor();

/** A traced function's result: one tensor, or tensors by name. */
export type Traced = Tensor | Readonly<Record<string, Tensor>> | undefined;

export function trace(
  fn: (inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext) => Traced,
  specs: Readonly<Record<string, TensorSpec>>,
  training: boolean,
): Graph {
  const inputs = new Map(Object.entries(specs).map(([name, spec]) => [name, placeholder(name, spec)]));
  const ctx = new TraceContext(training, inputs.get('key'));
  const result = fn(Object.fromEntries(inputs), ctx);
  if (result && 'then' in result)
    throw new UsageError(
      'compile: expected tensors from the compiled function, got a promise\nMake it synchronous: nothing is computed while it is traced.',
    );
  const outputs = new Map(result instanceof Tensor ? [['result', result]] : Object.entries(result ?? {}));
  for (const [name, t] of outputs)
    if (!(t instanceof Tensor))
      throw new UsageError(
        `compile: expected output '${name}' to be a tensor, got ${typeof t}\nReturn a tensor, or tensors by name.`,
      );
  const graph: Graph = { inputs, outputs, assigns: ctx.assigns };
  const own = new Set([...inputs.values()].map((t) => t.node));
  for (const node of ancestors(rootsOf(graph)))
    if (node.op === placeholderOp && !own.has(node))
      throw new UsageError(
        'compile: a tensor of another function is used here\nPass it in as an input, or read it first.',
      );
  return graph;
}

export const rootsOf = (g: Graph): Tensor[] => [...g.outputs.values(), ...g.assigns.values()];

/** The two int32 words of a key folded with a step number, as plans take it. */
export const keyData = (key: Key, step: number): Int32Array => Int32Array.from(fold(key, step), (w) => w | 0);
