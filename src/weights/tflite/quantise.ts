/**
 * A program of float32 operators in 8-bit integers.
 *
 * The one idea: a number is scale · (q − zero point). Weights have a scale per output channel and zero point 0, activations
 * one scale and zero point from the range that calibration found; biases are 32-bit numbers in units of the product of both.
 * Operators that only move numbers keep their input's scale; those that LiteRT has no integers for are left in float32
 * between DEQUANTIZE and QUANTIZE. Source: https://ai.google.dev/edge/litert/models/quantization_spec and Jacob et al.,
 * "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (arXiv 1712.05877).
 */
import { UsageError } from '../../core/errors.ts';
import type { ValueRange } from '../../quant/calibrate.ts';
import { Program, type ProgramOp, type ProgramTensor } from './program.ts';
import type { BuiltinName, TfliteQuantization } from './schema.ts';

/** What inputs and outputs of the model hold. */
export const inOutTypes = ['int8', 'uint8', 'float32'] as const;
export type InOutType = (typeof inOutTypes)[number];

/** How an activation is kept in 8 bits. */
interface Scale {
  readonly scale: number;
  readonly zeroPoint: number;
}
const params = ({ scale, zeroPoint }: Scale): TfliteQuantization => ({
  scale: [scale],
  zeroPoint: [zeroPoint],
  dimension: 0,
});

/** −128 to 127 over a range, in which 0 must be one of them: padding is 0. */
export function scaleOf({ min, max }: ValueRange): Scale {
  const low = Math.min(min, 0);
  const high = Math.max(max, 0);
  const scale = Math.fround((high - low) / 255 || 1);
  return { scale, zeroPoint: Math.max(-128, Math.min(127, Math.round(-128 - low / scale))) };
}
const rangeOf = ({ scale, zeroPoint }: Scale): ValueRange => ({
  min: scale * (-128 - zeroPoint),
  max: scale * (127 - zeroPoint),
});
const same = (a: Scale, b: Scale) => a.scale === b.scale && a.zeroPoint === b.zeroPoint;

/**
 * `layer`: weights and bias. `own`: the output's own range. `moves`: the first input's scale. `joins`: one scale for all
 * inputs and the output. A scale: the output's, fixed by LiteRT.
 */
type Rule = 'layer' | 'own' | 'moves' | 'joins' | Scale;
const rules: Partial<Record<BuiltinName, Rule>> = {
  CONV_2D: 'layer',
  DEPTHWISE_CONV_2D: 'layer',
  FULLY_CONNECTED: 'layer',
  ADD: 'own',
  SUB: 'own',
  MUL: 'own',
  PRELU: 'own',
  LEAKY_RELU: 'own',
  RELU: 'own',
  RELU6: 'own',
  RELU_N1_TO_1: 'own',
  HARD_SWISH: 'own',
  MEAN: 'own',
  SUM: 'own',
  AVERAGE_POOL_2D: 'moves',
  MAX_POOL_2D: 'moves',
  REDUCE_MAX: 'moves',
  REDUCE_MIN: 'moves',
  PAD: 'moves',
  PADV2: 'moves',
  RESHAPE: 'moves',
  TRANSPOSE: 'moves',
  SPLIT: 'moves',
  SPLIT_V: 'moves',
  STRIDED_SLICE: 'moves',
  RESIZE_BILINEAR: 'moves',
  RESIZE_NEAREST_NEIGHBOR: 'moves',
  CONCATENATION: 'joins',
  MAXIMUM: 'joins',
  MINIMUM: 'joins',
  LOGISTIC: { scale: 1 / 256, zeroPoint: -128 },
  SOFTMAX: { scale: 1 / 256, zeroPoint: -128 },
  TANH: { scale: 1 / 128, zeroPoint: 0 },
  L2_NORMALIZATION: { scale: 1 / 128, zeroPoint: 0 },
};
/** Axis of the output channels in a layer's weights. */
const channelAxis: Partial<Record<BuiltinName, number>> = { CONV_2D: 0, DEPTHWISE_CONV_2D: 3, FULLY_CONNECTED: 0 };

const largestInt32 = 2 ** 31 - 1;

class Quantiser {
  readonly to = new Program();
  /** Operators that are left in float32, with how many there are. */
  readonly inFloat = new Map<BuiltinName, number>();
  private readonly from: Program;
  private readonly ranges: ReadonlyMap<string, ValueRange>;
  /** Tensors of `to` for those of `from`: in integers, and in float32. */
  private readonly small = new Map<number, { tensor: number; scale: Scale }>();
  private readonly large = new Map<number, number>();

  constructor(from: Program, ranges: ReadonlyMap<string, ValueRange>) {
    this.from = from;
    this.ranges = ranges;
  }
  run(type: InOutType): Program {
    const missing = this.from.inputs.filter((p) => !this.range(this.from.tensors[p.tensor]!));
    if (missing.length)
      throw new UsageError(
        `TFLite: expected ranges of all values, but '${missing[0]!.name}' has none\nGive calibrate's ranges for this very graph.`,
      );
    for (const { name, tensor } of this.from.inputs) this.input(name, tensor, type);
    for (const op of this.from.ops) if (!this.inIntegers(op)) this.inFloat32(op);
    for (const { name, tensor } of this.from.outputs) this.to.outputs.push({ name, tensor: this.output(tensor, type) });
    return this.to;
  }

  private range(t: ProgramTensor): ValueRange | undefined {
    return t.value === undefined ? undefined : this.ranges.get(t.value);
  }
  /** A tensor in integers of its own. */
  private make(t: ProgramTensor, scale: Scale, name = t.name): number {
    return this.to.tensor({ name, shape: t.shape, type: 'i8', value: t.value, quantization: params(scale) });
  }
  private input(name: string, i: number, type: InOutType): void {
    const t = this.from.tensors[i]!;
    const scale = scaleOf(this.range(t)!);
    const add = (tensor: number) => this.to.inputs.push({ name, tensor });
    if (type === 'float32') {
      const tensor = this.to.tensor(t);
      add(tensor);
      this.large.set(i, tensor);
    } else if (type === 'int8') {
      const tensor = this.make(t, scale);
      add(tensor);
      this.small.set(i, { tensor, scale });
    } else {
      add(
        this.to.tensor({
          name: t.name,
          shape: t.shape,
          type: 'u8',
          quantization: params({ ...scale, zeroPoint: scale.zeroPoint + 128 }),
        }),
      );
      const tensor = this.make(t, scale, `${t.name}.int8`);
      this.to.add('QUANTIZE', [this.to.inputs.at(-1)!.tensor], [tensor]);
      this.small.set(i, { tensor, scale });
    }
  }
  private output(i: number, type: InOutType): number {
    if (type === 'float32') return this.asFloat(i);
    const made = this.asSmall(i);
    if (!made) {
      const t = this.from.tensors[i]!;
      throw new UsageError(
        `TFLite: expected a range of the output '${t.name}', got none\nGive calibrate's ranges for this very graph.`,
      );
    }
    if (type === 'int8') return made.tensor;
    const t = this.to.tensors[made.tensor]!;
    const { scale, zeroPoint } = made.scale;
    const tensor = this.to.tensor({
      name: `${t.name}.uint8`,
      shape: t.shape,
      type: 'u8',
      quantization: params({ scale, zeroPoint: zeroPoint + 128 }),
    });
    this.to.add('QUANTIZE', [made.tensor], [tensor]);
    return tensor;
  }
  private asFloat(i: number): number {
    const known = this.large.get(i);
    if (known !== undefined) return known;
    const t = this.from.tensors[i]!;
    const made = this.small.get(i);
    const tensor = this.to.tensor(made ? { ...t, name: `${t.name}.float32` } : t);
    if (made) this.to.add('DEQUANTIZE', [made.tensor], [tensor]);
    this.large.set(i, tensor);
    return tensor;
  }
  /** A tensor in integers, if its range is known; constants have it in themselves. */
  private asSmall(i: number): { tensor: number; scale: Scale } | undefined {
    const known = this.small.get(i);
    if (known) return known;
    const t = this.from.tensors[i]!;
    if (t.data) return t.type === 'f32' ? this.constant(i, scaleOf(extremes(t.data))) : undefined;
    const range = this.range(t);
    const large = this.large.get(i);
    if (!range || large === undefined) return undefined;
    const scale = scaleOf(range);
    const made = { tensor: this.make(t, scale, `${t.name}.int8`), scale };
    this.to.add('QUANTIZE', [large], [made.tensor]);
    this.small.set(i, made);
    return made;
  }
  private constant(i: number, scale: Scale): { tensor: number; scale: Scale } {
    const t = this.from.tensors[i]!;
    const data = Int8Array.from(t.data!, (x) =>
      Math.max(-128, Math.min(127, Math.round(x / scale.scale) + scale.zeroPoint)),
    );
    return { tensor: this.to.tensor({ ...t, type: 'i8', data, quantization: params(scale) }), scale };
  }
  /** A tensor in the integers of another. */
  private rescaled(i: number, scale: Scale): number {
    const made = this.asSmall(i)!;
    if (same(made.scale, scale)) return made.tensor;
    const t = this.from.tensors[i]!;
    if (t.data) return this.constant(i, scale).tensor;
    const tensor = this.make(t, scale, `${t.name}.rescaled`);
    this.to.add('QUANTIZE', [made.tensor], [tensor]);
    return tensor;
  }
  /** Shapes, axes and the like: as they are. */
  private whole(i: number): number {
    return this.large.get(i) ?? this.asFloat(i);
  }
  private isNumbers(i: number): boolean {
    return i >= 0 && this.from.tensors[i]!.type === 'f32';
  }
  private outputs(op: ProgramOp, scale: (i: number) => Scale): number[] {
    return op.outputs.map((i) => {
      const made = { tensor: this.make(this.from.tensors[i]!, scale(i)), scale: scale(i) };
      this.small.set(i, made);
      return made.tensor;
    });
  }

  private inFloat32(op: ProgramOp): void {
    this.inFloat.set(op.op, (this.inFloat.get(op.op) ?? 0) + 1);
    const inputs = op.inputs.map((i) => (i < 0 ? i : this.isNumbers(i) ? this.asFloat(i) : this.whole(i)));
    const outputs = op.outputs.map((i) => {
      const tensor = this.to.tensor(this.from.tensors[i]!);
      this.large.set(i, tensor);
      return tensor;
    });
    this.to.add(op.op, inputs, outputs, op.options);
  }
  /** False where it cannot be, and nothing was made. */
  private inIntegers(op: ProgramOp): boolean {
    const rule = rules[op.op];
    if (rule === undefined) return false;
    const numbers = op.inputs.filter((i) => this.isNumbers(i));
    const activations = rule === 'layer' ? numbers.slice(0, 1) : numbers;
    const needsRange = rule === 'layer' || rule === 'own';
    if (needsRange && op.outputs.some((i) => !this.range(this.from.tensors[i]!))) return false;
    const known = (i: number) =>
      this.small.has(i) || this.from.tensors[i]!.data !== undefined || this.range(this.from.tensors[i]!) !== undefined;
    if (!activations.every(known)) return false;
    if (rule === 'layer') return this.layer(op);

    let inputs: number[];
    let scale: (i: number) => Scale;
    if (rule === 'joins') {
      const joined = this.joined(op, numbers);
      inputs = op.inputs.map((i) => this.rescaled(i, joined));
      scale = () => joined;
    } else {
      // What moves numbers takes the first activation's scale; a value of padding, if any, with it.
      const [first] = numbers.filter((i) => !this.from.tensors[i]!.data);
      const source = first === undefined ? undefined : this.asSmall(first)!.scale;
      if (rule === 'moves' && !source) return false;
      inputs = op.inputs.map((i) => {
        if (!this.isNumbers(i)) return i < 0 ? i : this.whole(i);
        return rule === 'moves' ? this.rescaled(i, source!) : this.asSmall(i)!.tensor;
      });
      scale = (i) => (rule === 'moves' ? source! : rule === 'own' ? scaleOf(this.range(this.from.tensors[i]!)!) : rule);
    }
    this.to.add(op.op, inputs, this.outputs(op, scale), op.options);
    return true;
  }
  /** One scale for several tensors: that of the range of the result, or of all of them together. */
  private joined(op: ProgramOp, numbers: readonly number[]): Scale {
    const scales = numbers.map((i) => this.asSmall(i)!.scale);
    if (scales.every((s) => same(s, scales[0]!))) return scales[0]!;
    const ranges = scales.map(rangeOf);
    const own = this.range(this.from.tensors[op.outputs[0]!]!);
    if (own && op.op !== 'CONCATENATION') return scaleOf(own);
    return scaleOf({ min: Math.min(...ranges.map((r) => r.min)), max: Math.max(...ranges.map((r) => r.max)) });
  }
  private layer(op: ProgramOp): boolean {
    const [x, w, b] = op.inputs as [number, number, number];
    const { tensors } = this.from;
    const weight = tensors[w]!;
    const bias = tensors[b]!;
    if (!weight.data || !bias.data) return false;
    const input = this.asSmall(x)!;
    const axis = channelAxis[op.op]!;
    const channels = weight.shape[axis]!;
    const inner = weight.shape.slice(axis + 1).reduce((n, d) => n * d, 1);
    const channelOf = (k: number) => Math.floor(k / inner) % channels;
    const most = new Float64Array(channels);
    weight.data.forEach((v, k) => {
      const c = channelOf(k);
      most[c] = Math.max(most[c]!, Math.abs(v));
    });
    // A bias must fit 32 bits in units of both scales, also where a channel's weights are next to nothing.
    const scale = Array.from(most, (m, c) =>
      Math.fround(Math.max(m / 127, (Math.abs(bias.data![c]!) / input.scale.scale / largestInt32) * 1.001) || 1),
    );
    const small = Int8Array.from(weight.data, (v, k) =>
      Math.max(-127, Math.min(127, Math.round(v / scale[channelOf(k)]!))),
    );
    const biasScale = scale.map((s) => Math.fround(s * input.scale.scale));
    const whole = Int32Array.from(bias.data, (v, c) => Math.round(v / biasScale[c]!));
    const zeros = scale.map(() => 0);
    const inputs = [
      input.tensor,
      this.to.tensor({
        ...weight,
        type: 'i8',
        data: small,
        quantization: { scale, zeroPoint: zeros, dimension: axis },
      }),
      this.to.tensor({
        ...bias,
        type: 'i32',
        data: whole,
        quantization: { scale: biasScale, zeroPoint: zeros, dimension: 0 },
      }),
    ];
    this.to.add(
      op.op,
      inputs,
      this.outputs(op, (i) => scaleOf(this.range(tensors[i]!)!)),
      op.options,
    );
    return true;
  }
}

function extremes(data: ArrayLike<number>): ValueRange {
  let [min, max] = [0, 0];
  for (let i = 0; i < data.length; i++) {
    min = Math.min(min, data[i]!);
    max = Math.max(max, data[i]!);
  }
  return { min, max };
}

/** A program in integers, and the operators that stayed in float32. */
export interface Quantised {
  readonly program: Program;
  readonly inFloat: ReadonlyMap<string, number>;
}

/**
 * A program in 8-bit integers.
 * @param ranges of the graph's values, as calibrate gives them
 * @param type what inputs and outputs hold
 */
export function quantise(program: Program, ranges: ReadonlyMap<string, ValueRange>, type: InOutType): Quantised {
  const quantiser = new Quantiser(program, ranges);
  return { program: quantiser.run(type), inFloat: quantiser.inFloat };
}
