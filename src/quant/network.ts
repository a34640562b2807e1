/**
 * A quantised graph as a network: it embeds faces like any other, on WASM and on the reference device, and cannot be trained.
 *
 * The one idea: it is an ordinary graph of tensors, some of them uint8, so plans, threads, memory and batches are those of
 * every network. A value is kept as it was made and turned into the other form where a step asks for it.
 */
import { UsageError } from '../core/errors.ts';
import { sizeOf } from '../core/shape.ts';
import { type Tensor, tensor } from '../core/tensor.ts';
import * as E from '../expr/nodes.ts';
import { applyOperator, operatorOf } from '../models/graph/network.ts';
import { shapesOf } from '../models/graph/shapes.ts';
import type { FaceNetwork, Preprocessing } from '../models/network.ts';
import { loadState, Module, nameTree, variablesOf } from '../nn/module.ts';
import { reshape } from '../ops/movement.ts';
import { cast, elementwise } from '../ops/pointwise.ts';
import type { TraceContext } from '../plan/trace.ts';
import { type Int8Attrs, int8Conv, paddedChannels, weightZero } from './ops.ts';
import type { Int8Model, Levels } from './quantize.ts';
import { type FloatStep, type Int8Step, stepsOf } from './steps.ts';

/** A step with its constants. */
interface Prepared {
  readonly step: Int8Step;
  readonly w: Tensor;
  readonly scale: Tensor;
  readonly bias: Tensor;
  readonly slope: Tensor | undefined;
  readonly attrs: Int8Attrs;
}
interface PreparedFloat extends ReturnType<typeof operatorOf> {
  readonly step: FloatStep;
  readonly layer: Module | undefined;
}

/** x in 8 bits, halves to even; outside of the range the nearest end. */
const toLevels = (x: Tensor, { scale, zero }: Levels): Tensor =>
  cast(elementwise('quantize', E.add(E.round(E.mul(E.input(0), 1 / scale)), zero), [x]), 'u8');
const fromLevels = (q: Tensor, { scale, zero }: Levels): Tensor =>
  elementwise('dequantize', E.mul(E.sub(E.input(0), zero), scale), [q]);

export class Int8Network extends Module implements FaceNetwork {
  readonly architecture = 'int8';
  readonly options: { readonly embeddingSize: number };
  preprocessing: Preprocessing;
  readonly model: Int8Model;
  /** Layers with numbers that stay float32. */
  readonly layers: Module[] = [];
  private readonly steps: readonly (Prepared | PreparedFloat)[];

  /** @throws UsageError, DataError or ShapeError where graph and numbers do not fit */
  constructor(model: Int8Model, preprocessing: Preprocessing, source = 'int8 network') {
    super();
    this.model = model;
    this.preprocessing = preprocessing;
    const [first] = model.spec.outputs;
    this.options = { embeddingSize: sizeOf(shapesOf(model.spec).get(first!.value)!.slice(1)) };
    this.steps = stepsOf(model).map((step) =>
      step.kind === 'int8' ? this.prepared(step) : this.preparedFloat(step, source),
    );
  }

  private levelsOf(value: string): Levels {
    const levels = this.model.levels.get(value);
    if (!levels)
      throw new UsageError(`int8 network: expected levels of '${value}', got none\nQuantise the graph again.`);
    return levels;
  }

  private preparedFloat(step: FloatStep, source: string): PreparedFloat {
    const { operator, attrs } = operatorOf(step.node);
    const layer = operator.module?.(attrs);
    if (layer) {
      nameTree(layer, `layers.${step.node.path}`);
      const names = new Set(variablesOf(layer).map((v) => v.name));
      loadState(variablesOf(layer), new Map([...this.model.tensors].filter(([name]) => names.has(name))), source);
      this.layers.push(layer);
    }
    return { step, operator, attrs, layer };
  }

  private prepared(step: Int8Step): Prepared {
    const { node, activation } = step;
    const { attrs: of } = operatorOf(node);
    const numbers = (path: string, what: string) => this.model.tensors.get(`layers.${path}.${what}`)!;
    const weight = numbers(node.path, 'weight');
    const shape = node.op === 'linear' ? [1, 1, ...weight.shape] : weight.shape;
    const channels = shape[3]!;
    const input = this.levelsOf(step.input);
    const output = this.levelsOf(step.output);
    // Results are in levels of the output where it is stored in 8 bits, else in its own unit.
    const unit = step.stored ? output.scale : 1;
    const padded = (values: ArrayLike<number>) => {
      const out = new Float32Array(paddedChannels(channels));
      out.set(values);
      return out;
    };
    const bias = new Int32Array(paddedChannels(channels));
    bias.set(numbers(node.path, 'bias').data);
    const slopes = slopesOf(step, channels, (path) => numbers(path, 'weight').data);
    const level = (x: number | undefined, otherwise: number) =>
      x === undefined ? otherwise : Math.min(255, Math.max(0, Math.round(x / output.scale) + output.zero));
    const conv = of as unknown as Pick<Int8Attrs, 'stride' | 'padding' | 'dilation' | 'groups'>;
    const plain = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    const { stride, padding, dilation, groups } = node.op === 'linear' ? plain : conv;
    const residual = step.residual === undefined ? undefined : this.levelsOf(step.residual);
    return {
      step,
      w: tensor(
        Uint8Array.from(weight.data, (w) => w + weightZero),
        shape,
      ),
      scale: tensor(padded(Array.from(numbers(node.path, 'scale').data, (s) => (s * input.scale) / unit))),
      bias: tensor(bias),
      slope: slopes && tensor(padded(slopes)),
      attrs: {
        stride,
        padding,
        dilation,
        groups,
        zero: input.zero,
        slopes: !slopes ? 'none' : slopes.every((s) => s <= 1) ? 'small' : 'any',
        ...(residual && { residual: { zero: residual.zero, scale: residual.scale / unit } }),
        ...(step.stored && {
          output: { zero: output.zero, low: level(activation?.min, 0), high: level(activation?.max, 255) },
        }),
      },
    };
  }

  /** All that the graph gives, by name. */
  outputs(inputs: readonly Tensor[], ctx: TraceContext): Map<string, Tensor> {
    const { spec } = this.model;
    const floats = new Map(spec.inputs.map((input, i) => [input.name, inputs[i]!]));
    const bytes = new Map<string, Tensor>();
    const float = (value: string): Tensor => {
      const known = floats.get(value);
      if (known) return known;
      const made = fromLevels(bytes.get(value)!, this.levelsOf(value));
      floats.set(value, made);
      return made;
    };
    const stored = (value: string): Tensor => {
      const known = bytes.get(value);
      if (known) return known;
      const made = toLevels(floats.get(value)!, this.levelsOf(value));
      bytes.set(value, made);
      return made;
    };
    for (const prepared of this.steps) {
      const { step } = prepared;
      if ('operator' in prepared) {
        const { operator, attrs, layer } = prepared;
        const made = applyOperator({ operator, attrs, layer, path: step.node.path }, step.node.inputs.map(float), ctx);
        step.node.outputs.forEach((name, i) => {
          floats.set(name, made[i]!);
        });
        continue;
      }
      const { input, residual, output, stored: inBytes, node } = prepared.step;
      const x = stored(input);
      const rows = node.op === 'linear' ? reshape(x, [x.size / x.shape[x.rank - 1]!, 1, 1, x.shape[x.rank - 1]!]) : x;
      const r = residual === undefined ? undefined : stored(residual);
      const { w, scale, bias, slope, attrs } = prepared;
      const shape = node.op === 'linear' ? [rows.shape[0]!, 1, 1, w.shape[3]!] : undefined;
      const y = int8Conv({ x: rows, w, scale, bias, slope, residual: r && shape ? reshape(r, shape) : r }, attrs);
      (inBytes ? bytes : floats).set(output, shape ? reshape(y, [...x.shape.slice(0, -1), shape[3]!]) : y);
    }
    return new Map(spec.outputs.map(({ name, value }) => [name, float(value)]));
  }

  /** The first output, as embeddings [N, d]. */
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    if (ctx.training)
      throw new UsageError(
        'int8 network: expected inference, got training\nTrain the float32 network, then quantise it.',
      );
    const [first] = this.outputs([x], ctx).values();
    return first!;
  }
}

/** Slopes below 0 of a step's activation. Bounds need the levels of a stored value; what is not stored has relu as slopes. */
function slopesOf(
  { activation, stored }: Int8Step,
  channels: number,
  weights: (path: string) => ArrayLike<number>,
): number[] | undefined {
  if (!activation) return undefined;
  const { node } = activation;
  const same = (slope: number) => new Array<number>(channels).fill(slope);
  if (node.op === 'prelu') return Array.from(weights(node.path));
  if (node.op === 'leakyRelu') return same(operatorOf(node).attrs.slope as number);
  return node.op === 'relu' && !stored ? same(0) : undefined;
}
