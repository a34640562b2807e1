/**
 * What each operator of a TFLite file becomes in a graph.
 *
 * The one idea: one table. A record takes the operator's operands (values of the graph, or constants of the file) and
 * options, and gives values; weights are turned from [out, kh, kw, in] to [kh, kw, in, out] on the way. Shapes that programs
 * compute at run time (SHAPE, STRIDED_SLICE, PACK) are computed here, for one image.
 * What operators mean: https://ai.google.dev/edge/litert/models/ops_compatibility and the reference kernels of LiteRT.
 */
import { sizeOf } from '../../core/shape.ts';
import { host } from '../../core/tensor.ts';
import type { Value } from '../../models/graph/builder.ts';
import type { HostTensor } from '../safetensors.ts';
import { Call, isValue, type Operand, type OperatorContext } from './call.ts';
import { type BuiltinName, tensorTypes, typeNames } from './schema.ts';

type Convert = (c: Call) => Operand | readonly Operand[];

const fits = (t: HostTensor, rank: number, c: Call, what: string) => {
  if (t.shape.length !== rank || sizeOf(t.shape) !== t.data.length)
    c.fail(`${what} has the shape [${t.shape}]; expected ${rank} axes`);
  return t;
};
/** The constant of operand i as a vector, undefined where it is left out. */
const bias = (c: Call, i: number, n: number): HostTensor | undefined => {
  if (!c.has(i)) return undefined;
  const b = c.constant(i);
  if (b.data.length !== n) c.fail(`its bias has ${b.data.length} numbers for ${n} channels`);
  return host(Float32Array.from(b.data), [n]);
};

/** [a, b…] with its first axis last. */
function firstAxisLast(data: ArrayLike<number>, first: number): Float32Array {
  const out = new Float32Array(data.length);
  const rest = data.length / first;
  for (let o = 0; o < first; o++) for (let k = 0; k < rest; k++) out[k * first + o] = data[o * rest + k]!;
  return out;
}

function conv(c: Call): Operand {
  const x = c.value(0);
  const w = fits(c.constant(1), 4, c, 'its weight');
  const [out, kh, kw, per] = w.shape as [number, number, number, number];
  const dilation = [c.option('dilationH') || 1, c.option('dilationW') || 1] as [number, number];
  const windows = c.padding(x, [kh, kw], dilation);
  const weight = host(firstAxisLast(w.data, out), [kh, kw, per, out]);
  const groups = x.shape[3]! / per;
  return c.activate(c.builder.conv2d(x, { ...windows, dilation, groups, weight, bias: bias(c, 2, out) }, c.path));
}
function depthwise(c: Call): Operand {
  const x = c.value(0);
  const w = fits(c.constant(1), 4, c, 'its weight');
  const [, kh, kw, out] = w.shape as [number, number, number, number];
  const dilation = [c.option('dilationH') || 1, c.option('dilationW') || 1] as [number, number];
  const windows = c.padding(x, [kh, kw], dilation);
  const weight = host(Float32Array.from(w.data), [kh, kw, 1, out]);
  return c.activate(
    c.builder.conv2d(x, { ...windows, dilation, groups: x.shape[3]!, weight, bias: bias(c, 2, out) }, c.path),
  );
}
function dense(c: Call): Operand {
  let x = c.value(0);
  const w = fits(c.constant(1), 2, c, 'its weight');
  const [out, inputs] = w.shape as [number, number];
  if (c.option('weightsFormat')) c.fail('its weights are shuffled for one kind of processor');
  if (!c.option('keepNumDims') && x.shape.length !== 2)
    x = c.builder.reshape(x, [sizeOf(x.shape) / inputs, inputs], `${c.path}.flatten`);
  const weight = host(firstAxisLast(w.data, out), [inputs, out]);
  return c.activate(c.builder.linear(x, { weight, bias: bias(c, 2, out) }, c.path));
}
const pool =
  (op: 'avgPool' | 'maxPool'): Convert =>
  (c) => {
    const x = c.value(0);
    const kernel = [c.option('filterHeight'), c.option('filterWidth')] as [number, number];
    const attrs = { kernel, ...c.padding(x, kernel), ...(op === 'avgPool' && { countIncludePad: false }) };
    return c.activate(c.apply(op, [x], attrs));
  };

/** One of a kind: the constant is a single number. */
const single = (x: Operand): number | undefined => (!isValue(x) && x.data.length === 1 ? x.data[0]! : undefined);
const binary =
  (op: string): Convert =>
  (c) => {
    const [a, b] = [c.operand(0), c.operand(1)];
    const [left, right] = [single(a), single(b)];
    // A number among more axes would add axes to the result.
    const rank = (x: Operand) => x.shape.length;
    if (isValue(a) && right !== undefined && rank(b) <= rank(a)) return c.activate(c.apply(op, [a], { value: right }));
    if (isValue(b) && left !== undefined && rank(a) <= rank(b))
      return c.activate(c.apply(op, [b], { value: left, reversed: true }));
    return c.activate(c.apply(op, [c.asValue(a), c.asValue(b)]));
  };
const unary =
  (op: string, attrs: Readonly<Record<string, unknown>> = {}): Convert =>
  (c) =>
    c.apply(op, [c.value(0)], attrs);
const reduce =
  (kind: string): Convert =>
  (c) =>
    c.apply('reduce', [c.value(0)], { kind, axes: c.list(1), keep: c.option('keepDims') === 1 });

function prelu(c: Call): Operand {
  const x = c.value(0);
  const slope = c.constant(1);
  const channels = x.shape[x.shape.length - 1]!;
  if (slope.data.length === 1 || (slope.data.length === channels && slope.shape[slope.shape.length - 1] === channels))
    return c.builder.prelu(x, slope, c.path);
  // A slope for every place: max(x, 0) + slope·min(x, 0).
  const below = c.builder.apply('min', [x], { value: 0 }, `${c.path}.below`);
  const scaled = c.builder.apply('mul', [below, c.builder.parameter(slope, `${c.path}.slope`)], {}, `${c.path}.scaled`);
  const above = c.builder.apply('relu', [x], {}, `${c.path}.above`);
  return c.apply('add', [above, scaled]);
}

function pad(c: Call, value = 0): Operand {
  const x = c.value(0);
  const flat = c.list(1);
  if (flat.length !== 2 * x.shape.length) c.fail(`it pads ${flat.length / 2} axes of ${x.shape.length}`);
  const pads = x.shape.map((_, i) => [flat[2 * i]!, flat[2 * i + 1]!]);
  return c.apply('pad', [x], { pads, value });
}

const reshaped = (c: Call, x: Operand, shape: number[]): Operand => {
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const target = shape.map((d) => (d === -1 ? sizeOf(x.shape) / known : d));
  if (sizeOf(target) !== sizeOf(x.shape) || !target.every((d) => Number.isSafeInteger(d) && d >= 0))
    c.fail(`it reshapes [${x.shape}] to [${shape}]`);
  return isValue(x) ? c.builder.reshape(x, target, c.path) : { ...x, shape: target };
};
const reshape: Convert = (c) => {
  const given = c.context.options.newShape as readonly number[] | undefined;
  return reshaped(c, c.operand(0), c.has(1) ? c.list(1) : [...(given ?? c.fail('it has no shape'))]);
};
const squeeze: Convert = (c) => {
  const x = c.operand(0);
  const axes = ((c.context.options.squeezeDims as readonly number[]) ?? []).map((a) =>
    a < 0 ? a + x.shape.length : a,
  );
  return reshaped(
    c,
    x,
    x.shape.filter((d, i) => (axes.length ? !axes.includes(i) : d !== 1)),
  );
};
const expandDims: Convert = (c) => {
  const x = c.operand(0);
  const [axis] = c.list(1);
  const at = axis! < 0 ? axis! + x.shape.length + 1 : axis!;
  return reshaped(c, x, x.shape.toSpliced(at, 0, 1));
};

/** From start to end with a step along every axis; what covers all of an axis is left out. */
function sliced(c: Call, x: Value, parts: readonly (readonly [start: number, end: number, step: number])[]): Value {
  let y = x;
  parts.forEach(([start, end, step], axis) => {
    const size = x.shape[axis]!;
    if (!(start >= 0 && end <= size && start < end && step > 0))
      c.fail(`it takes ${start} to ${end}, step ${step}, of the ${size} along axis ${axis}`);
    if (start !== 0 || end !== size || step !== 1)
      y = c.builder.apply('slice', [y], { axis, start, end, step }, `${c.path}.axis${axis}`);
  });
  return y;
}
const slice: Convert = (c) => {
  const x = c.value(0);
  const [begin, size] = [c.list(1), c.list(2)];
  return sliced(
    c,
    x,
    x.shape.map((d, i) => [begin[i]!, size[i] === -1 ? d : begin[i]! + size[i]!, 1]),
  );
};
const stridedSlice: Convert = (c) => {
  const x = c.operand(0);
  if (c.option('ellipsisMask') || c.option('newAxisMask')) c.fail('its ellipsis and new axes are not read');
  const [begin, end, step] = [c.list(1), c.list(2), c.list(3)];
  const bit = (mask: string, i: number) => (c.option(mask) >> i) & 1;
  const at = (n: number, d: number) => Math.min(Math.max(n < 0 ? n + d : n, 0), d);
  const parts = x.shape.map((d, i): [number, number, number] => {
    if (i >= begin.length) return [0, d, 1];
    const start = bit('beginMask', i) ? 0 : at(begin[i]!, d);
    if (bit('shrinkAxisMask', i)) return [start, start + 1, 1];
    return [start, bit('endMask', i) ? d : at(end[i]!, d), step[i]!];
  });
  const left = (shape: readonly number[]) => shape.filter((_, i) => !bit('shrinkAxisMask', i));
  if (isValue(x)) {
    const y = sliced(c, x, parts);
    return c.option('shrinkAxisMask') ? reshaped(c, y, left(y.shape)) : y;
  }
  if (x.shape.length !== 1) return c.fail(`it cuts a constant of ${x.shape.length} axes`);
  const [start, stop, by] = parts[0]!;
  if (!(by > 0)) c.fail(`it takes a constant in steps of ${by}`);
  const kept = Array.from(x.data).filter((_, i) => i >= start && i < stop && (i - start) % by === 0);
  return host(Int32Array.from(kept), left([kept.length]));
};

const split = (axis: (c: Call) => number, value: number, sizes: (c: Call, length: number) => number[]): Convert => {
  return (c) => {
    const x = c.value(value);
    const given = axis(c);
    const at = given < 0 ? given + x.shape.length : given;
    const length = x.shape[at] ?? c.fail(`it splits axis ${given} of ${x.shape.length}`);
    const parts = sizes(c, length);
    const open = parts.indexOf(-1);
    if (open >= 0) parts[open] = length - parts.reduce((n, d) => n + Math.max(d, 0), 0);
    if (parts.length !== c.count) c.fail(`it gives ${c.count} values of ${parts.length} parts`);
    return c.builder.applyMany('split', [x], { axis: at, sizes: parts }, c.path);
  };
};

/** How far pixels' centres are from where our resizing takes them is not a matter of taste: other conventions are refused. */
const resize =
  (mode: 'nearest' | 'bilinear'): Convert =>
  (c) => {
    const x = c.value(0);
    const [h, w] = c.list(1) as [number, number];
    const [align, half] = [c.option('alignCorners') === 1, c.option('halfPixelCenters') === 1];
    const whole = h % x.shape[1]! === 0 && w % x.shape[2]! === 0;
    const sameSize = h === x.shape[1] && w === x.shape[2];
    // Enlarged a whole number of times, nearest pixels are the same with centres at 0 or at a half.
    const known = mode === 'bilinear' ? align !== half : !align && (!half || whole);
    if (!known && !sameSize)
      c.fail(
        `it resizes [${x.shape[1]}, ${x.shape[2]}] to [${h}, ${w}] ${mode} with align_corners ${align} and half_pixel_centers ${half}`,
      );
    return c.apply('resize', [x], { size: [h, w], mode, alignCorners: align });
  };

const softmax: Convert = (c) => {
  const beta = c.option('beta');
  const x = c.value(0);
  const scaled = beta === 1 ? x : c.builder.apply('mul', [x], { value: beta }, `${c.path}.beta`);
  return c.apply('softmax', [scaled], { axis: -1 });
};
const depthToSpace: Convert = (c) => {
  const x = c.value(0);
  const b = c.option('blockSize');
  const [n, h, w, channels] = x.shape as [number, number, number, number];
  const blocks = c.builder.reshape(x, [n, h, w, b, b, channels / (b * b)], `${c.path}.blocks`);
  const rows = c.builder.apply('transpose', [blocks], { axes: [0, 1, 3, 2, 4, 5] }, `${c.path}.rows`);
  return c.builder.reshape(rows, [n, h * b, w * b, channels / (b * b)], c.path);
};
const pack: Convert = (c) => {
  const parts = c.context.inputs.map((_, i) => c.operand(i));
  const rank = parts[0]!.shape.length;
  const axis = c.option('axis') < 0 ? c.option('axis') + rank + 1 : c.option('axis');
  if (parts.every((p) => !isValue(p) && rank === 0))
    return host(
      Int32Array.from(parts, (p) => (p as HostTensor).data[0]!),
      [parts.length],
    );
  const widened = parts.map((p, i) => {
    const v = c.asValue(p);
    return c.builder.reshape(v, v.shape.toSpliced(axis, 0, 1), `${c.path}.part${i}`);
  });
  return c.apply('concat', widened, { axis });
};
/** Stands for numbers stored in fewer bits; here all are float32. */
const asItIs: Convert = (c) => c.operand(0);
/** Between kinds of floating-point numbers, and of constants, which are cut off to whole ones here. */
const cast: Convert = (c) => {
  const x = c.operand(0);
  const to = c.option('to');
  if (isValue(x) && to !== tensorTypes.f32 && to !== tensorTypes.f16)
    c.fail(`it turns numbers to ${typeNames[to] ?? to}`);
  const whole = !isValue(x) && x.dtype === 'f32' && (to === tensorTypes.i32 || to === tensorTypes.i64);
  return whole ? host(Int32Array.from(x.data, Math.trunc), x.shape) : x;
};
const reciprocalRoot: Convert = (c) => {
  const root = c.builder.apply('sqrt', [c.value(0)], {}, `${c.path}.sqrt`);
  return c.apply('div', [root], { value: 1, reversed: true });
};

/** The operators that are read. */
export const converters: { readonly [K in BuiltinName]: Convert } = {
  CONV_2D: conv,
  DEPTHWISE_CONV_2D: depthwise,
  FULLY_CONNECTED: dense,
  ADD: binary('add'),
  SUB: binary('sub'),
  MUL: binary('mul'),
  DIV: binary('div'),
  POW: binary('pow'),
  MAXIMUM: binary('max'),
  MINIMUM: binary('min'),
  SQUARED_DIFFERENCE: (c) => c.apply('square', [binary('sub')(c) as Value]),
  PRELU: prelu,
  LEAKY_RELU: (c) => c.apply('leakyRelu', [c.value(0)], { slope: c.option('alpha') }),
  RELU: unary('relu'),
  RELU6: unary('relu6'),
  RELU_N1_TO_1: unary('clamp', { min: -1, max: 1 }),
  RELU_0_TO_1: unary('clamp', { min: 0, max: 1 }),
  LOGISTIC: unary('sigmoid'),
  TANH: unary('tanh'),
  ELU: unary('elu'),
  HARD_SWISH: unary('hardSwish'),
  SQUARE: unary('square'),
  SQRT: unary('sqrt'),
  RSQRT: reciprocalRoot,
  EXP: unary('exp'),
  LOG: unary('log'),
  SIN: unary('sin'),
  COS: unary('cos'),
  NEG: unary('neg'),
  ABS: unary('abs'),
  FLOOR: unary('floor'),
  CEIL: unary('ceil'),
  ROUND: unary('round'),
  AVERAGE_POOL_2D: pool('avgPool'),
  MAX_POOL_2D: pool('maxPool'),
  MEAN: reduce('mean'),
  SUM: reduce('sum'),
  REDUCE_MAX: reduce('max'),
  REDUCE_MIN: reduce('min'),
  PAD: (c) => pad(c),
  PADV2: (c) => pad(c, c.list(2)[0]),
  RESHAPE: reshape,
  SQUEEZE: squeeze,
  EXPAND_DIMS: expandDims,
  TRANSPOSE: (c) => c.apply('transpose', [c.value(0)], { axes: c.list(1) }),
  CONCATENATION: (c) =>
    c.activate(
      c.apply(
        'concat',
        c.context.inputs.map((_, i) => c.value(i)),
        { axis: c.option('axis') },
      ),
    ),
  SPLIT: split(
    (c) => c.list(0)[0]!,
    1,
    (c, length) => Array.from({ length: c.count }, () => length / c.count),
  ),
  SPLIT_V: split(
    (c) => c.list(2)[0]!,
    0,
    (c) => c.list(1),
  ),
  SLICE: slice,
  STRIDED_SLICE: stridedSlice,
  REVERSE_V2: (c) => c.apply('flip', [c.value(0)], { axes: c.list(1) }),
  BROADCAST_TO: (c) => c.apply('broadcastTo', [c.value(0)], { shape: c.list(1) }),
  SOFTMAX: softmax,
  LOG_SOFTMAX: unary('logSoftmax', { axis: -1 }),
  L2_NORMALIZATION: (c) => c.activate(c.apply('l2Normalize', [c.value(0)], { axis: -1, eps: 1e-6 })),
  RESIZE_BILINEAR: resize('bilinear'),
  RESIZE_NEAREST_NEIGHBOR: resize('nearest'),
  DEPTH_TO_SPACE: depthToSpace,
  BATCH_MATMUL: (c) =>
    c.apply('matmul', [c.value(0), c.value(1)], { transA: c.option('adjX') === 1, transB: c.option('adjY') === 1 }),
  SHAPE: (c) => host(Int32Array.from(c.operand(0).shape), [c.operand(0).shape.length]),
  PACK: pack,
  CAST: cast,
  DEQUANTIZE: asItIs,
  QUANTIZE: asItIs,
};

/** Reads one operator. Its values, in order. */
export function convert(op: BuiltinName, context: OperatorContext): readonly Operand[] {
  const made = converters[op](new Call(context));
  return Array.isArray(made) ? made : [made as Operand];
}
