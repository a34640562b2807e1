/**
 * An operator of a TFLite file while it is read: its operands and options as what is expected of them.
 *
 * The one idea: what is not as expected fails with the operator's name, so the records of operators.ts say only what they mean.
 */
import type { GraphBuilder } from '../../models/graph/builder.ts';
import { Value } from '../../models/graph/builder.ts';
import type { HostTensor } from '../safetensors.ts';
import { samePadding } from '../samePadding.ts';
import { activations, paddings } from './schema.ts';

/** A value of the graph, or a constant of the file. */
export type Operand = Value | HostTensor;

export interface OperatorContext {
  readonly builder: GraphBuilder;
  readonly inputs: readonly (Operand | undefined)[];
  readonly options: Readonly<Record<string, unknown>>;
  /** For the nodes that are made. */
  readonly path: string;
  /** Number of values that it gives. */
  readonly count: number;
  /** Throws a DataError that names the operator. */
  fail(what: string): never;
}

export const isValue = (x: Operand | undefined): x is Value => x instanceof Value;

/** An operator being read: its operands and options, as what is expected of them. */
export class Call {
  readonly context: OperatorContext;
  readonly builder: GraphBuilder;
  readonly path: string;
  constructor(context: OperatorContext) {
    this.context = context;
    this.builder = context.builder;
    this.path = context.path;
  }
  fail(what: string): never {
    return this.context.fail(what);
  }
  operand(i: number): Operand {
    return this.context.inputs[i] ?? this.fail(`operand ${i} is missing`);
  }
  has(i: number): boolean {
    return this.context.inputs[i] !== undefined;
  }
  /** A value; constants become one. */
  value(i: number): Value {
    return this.asValue(this.operand(i));
  }
  asValue(x: Operand): Value {
    return isValue(x) ? x : this.builder.constant(x, `${this.path}.constant`);
  }
  constant(i: number): HostTensor {
    const x = this.operand(i);
    return isValue(x) ? this.fail(`operand ${i} is computed; it must be a constant of the file`) : x;
  }
  list(i: number): number[] {
    return Array.from(this.constant(i).data);
  }
  option(name: string): number {
    return Number(this.context.options[name] ?? 0);
  }
  get count(): number {
    return this.context.count;
  }
  apply(op: string, inputs: readonly Value[], attrs: Readonly<Record<string, unknown>> = {}): Value {
    return this.builder.apply(op, inputs, attrs, this.path);
  }
  /** The activation that is part of the operator. */
  activate(x: Value): Value {
    const fused = activations[this.option('activation')];
    if (fused === undefined) return this.fail(`its activation has the number ${this.option('activation')}`);
    const path = `${this.path}.activation`;
    if (fused === 'none') return x;
    if (fused === 'reluN1To1') return this.builder.apply('clamp', [x], { min: -1, max: 1 }, path);
    return this.builder.apply(fused, [x], {}, path);
  }
  /** [top, bottom, left, right] for a window that goes over x. */
  padding(x: Value, kernel: readonly [number, number], dilation: readonly [number, number] = [1, 1]) {
    const [sh, sw] = [this.option('strideH'), this.option('strideW')];
    if (!(sh > 0 && sw > 0 && dilation.every((d) => d > 0)))
      this.fail(`its strides are ${sh}, ${sw} and its dilations ${dilation}`);
    if (x.shape.length !== 4) this.fail(`it takes images [N, H, W, C], not [${x.shape}]`);
    const [, h, w] = x.shape as [number, number, number];
    const stride: [number, number] = [sh, sw];
    const same = this.option('padding') === paddings.same;
    const none: ReturnType<typeof samePadding> = [0, 0, 0, 0];
    return { stride, padding: same ? samePadding([h, w], kernel, stride, dilation) : none };
  }
}
