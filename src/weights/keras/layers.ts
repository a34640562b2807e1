/**
 * Keras' layers in the terms of a graph: one table by class. Axes and weights are this engine's own already (NHWC, HWIO).
 * Source: Keras' API documentation.
 */
import { DataError } from '../../core/errors.ts';
import { sizeOf } from '../../core/shape.ts';
import { host } from '../../core/tensor.ts';
import type { GraphBuilder, Value } from '../../models/graph/builder.ts';
import type { HostTensor } from '../safetensors.ts';
import { samePadding } from '../samePadding.ts';

/** A layer's configuration as values. Errors are completed by the caller with file and layer. */
export class Fields {
  readonly all: Readonly<Record<string, unknown>>;
  constructor(all: Readonly<Record<string, unknown>>) {
    this.all = all;
  }
  private fail(key: string, expected: string): never {
    throw new DataError(
      `expected ${key} to be ${expected}, got ${JSON.stringify(this.all[key])?.slice(0, 80)}\nThe configuration is damaged or of another kind.`,
    );
  }
  number(key: string, fallback?: number): number {
    const value = this.all[key] ?? fallback;
    // Keras 3 writes arrays of no axis as records.
    const plain =
      typeof value === 'object' && value !== null && 'value' in value ? (value as { value: unknown }).value : value;
    return typeof plain === 'number' && Number.isFinite(plain) ? plain : this.fail(key, 'a number');
  }
  flag(key: string, fallback: boolean): boolean {
    const value = this.all[key] ?? fallback;
    return typeof value === 'boolean' ? value : this.fail(key, 'true or false');
  }
  text(key: string, fallback: string): string {
    const value = this.all[key] ?? fallback;
    return typeof value === 'string' ? value : this.fail(key, 'a text');
  }
  numbers(key: string, fallback?: readonly number[]): readonly number[] {
    const value = this.all[key] ?? fallback;
    const list = typeof value === 'number' ? [value] : value;
    return Array.isArray(list) && list.length <= 32 && list.every((n) => Number.isSafeInteger(n))
      ? list
      : this.fail(key, 'whole numbers');
  }
  /** [down, right]; one number is both. */
  pair(key: string, fallback: readonly number[]): readonly [number, number] {
    const [a, b = a] = this.numbers(key, fallback);
    return a === undefined ? this.fail(key, 'two whole numbers') : [a, b!];
  }
}

export interface Call {
  readonly builder: GraphBuilder;
  readonly name: string;
  readonly kind: string;
  readonly inputs: readonly Value[];
  readonly fields: Fields;
  /** Version of Keras 3 or later, where some functions are others. */
  readonly three: boolean;
  /** A weight of the layer by its name in Keras, or another that it had. Throws DataError where there is none. */
  weight(...names: string[]): HostTensor;
  /** Tells the user. */
  note(what: string): void;
}
type Layer = (call: Call) => Value;

const unsupported = (what: string): never => {
  throw new DataError(`${what} is not supported\nReplace it before saving, or convert the model to ONNX.`);
};

function checkOrder(fields: Fields): void {
  const order = fields.text('data_format', 'channels_last');
  if (order !== 'channels_last') unsupported(`the order of axes ${order}`);
}

/** A function by its name. */
function activate({ builder, three, note }: Call, x: Value, name: unknown, path: string): Value {
  // Keras 3 and custom functions come as records.
  const record =
    typeof name === 'object' && name !== null ? (name as { config?: unknown; class_name?: unknown }) : undefined;
  const text = record ? (typeof record.config === 'string' ? record.config : record.class_name) : (name ?? 'linear');
  const one = (op: string, attrs: Readonly<Record<string, unknown>> = {}) => builder.apply(op, [x], attrs, path);
  switch (text) {
    case 'linear':
      return x;
    case 'relu':
    case 'relu6':
    case 'sigmoid':
    case 'tanh':
    case 'elu':
    case 'selu':
    case 'softplus':
    case 'swish':
    case 'softmax':
    case 'exp':
      return one(text);
    case 'silu':
      return one('swish');
    case 'exponential':
      return one('exp');
    case 'leaky_relu':
      return one('leakyRelu', { slope: 0.2 });
    case 'hard_sigmoid':
      return one('hardSigmoid', three ? { alpha: 1 / 6, beta: 0.5 } : { alpha: 0.2, beta: 0.5 });
    case 'hard_swish':
    case 'hard_silu':
      note(`${path}: ${text} is x·min(max(x/6 + 1/2, 0), 1)`);
      return one('hardSwish');
    default:
      return unsupported(`the activation ${JSON.stringify(text)}`);
  }
}
const activated = (call: Call, x: Value): Value =>
  activate(call, x, call.fields.all.activation, `${call.name}.activation`);

const window = (
  { fields }: Call,
  inputs: readonly Value[],
  kernel: readonly [number, number],
  strides: readonly number[],
) => {
  checkOrder(fields);
  const x = inputs[0]!;
  if (x.shape.length !== 4) unsupported(`a value of ${x.shape.length} axes`);
  const stride = fields.pair('strides', strides);
  const dilation = fields.pair('dilation_rate', [1, 1]);
  if ([...kernel, ...stride, ...dilation].some((n) => n < 1)) unsupported('a window or step below 1');
  const kind = fields.text('padding', 'valid');
  if (kind !== 'valid' && kind !== 'same') unsupported(`padding '${kind}'`);
  const [, height, width] = x.shape as [number, number, number];
  const none: ReturnType<typeof samePadding> = [0, 0, 0, 0];
  const padding = kind === 'same' ? samePadding([height, width], kernel, stride, dilation) : none;
  return { stride, padding, dilation };
};
const bias = ({ fields, weight }: Call): HostTensor | undefined =>
  fields.flag('use_bias', true) ? weight('bias') : undefined;
const axesOf = (weight: HostTensor): readonly number[] =>
  weight.shape.length === 4 ? weight.shape : unsupported(`a filter of ${weight.shape.length} axes`);

function conv2d(call: Call): Value {
  const { builder, name, inputs, fields, weight } = call;
  const kernel = weight('kernel');
  const [kh, kw] = axesOf(kernel) as [number, number];
  const { stride, padding, dilation } = window(call, inputs, [kh, kw], [1, 1]);
  const groups = fields.number('groups', 1);
  return activated(
    call,
    builder.conv2d(inputs[0]!, { weight: kernel, bias: bias(call), stride, padding, dilation, groups }, name),
  );
}

/** Filters [kh, kw, C, m]: output c·m + j is filter j of channel c. */
function depthwise(call: Call, kernel: HostTensor, withBias: boolean, path: string): Value {
  const { builder, inputs } = call;
  const [kh, kw, channels, times] = axesOf(kernel) as [number, number, number, number];
  const { stride, padding, dilation } = window(call, inputs, [kh, kw], [1, 1]);
  const grouped = host(kernel.data, [kh, kw, 1, channels * times]);
  return builder.conv2d(
    inputs[0]!,
    { weight: grouped, bias: withBias ? bias(call) : undefined, stride, padding, dilation, groups: channels },
    path,
  );
}
/** Keras 3 calls depthwise filters `kernel`. */
const depthwiseConv2d: Layer = (call) =>
  activated(call, depthwise(call, call.weight('depthwise_kernel', 'kernel'), true, call.name));

function separableConv2d(call: Call): Value {
  const y = depthwise(call, call.weight('depthwise_kernel'), false, `${call.name}.depthwise`);
  return activated(
    call,
    call.builder.conv2d(y, { weight: call.weight('pointwise_kernel'), bias: bias(call) }, call.name),
  );
}

function dense(call: Call): Value {
  const kernel = call.weight('kernel');
  if (kernel.shape.length !== 2) unsupported(`a dense weight of ${kernel.shape.length} axes`);
  return activated(call, call.builder.linear(call.inputs[0]!, { weight: kernel, bias: bias(call) }, call.name));
}

function batchNormalization({ builder, name, inputs, fields, weight }: Call): Value {
  const x = inputs[0]!;
  const [axis] = fields.numbers('axis', [-1]);
  if (axis !== -1 && axis !== x.shape.length - 1) unsupported(`batch normalisation along axis ${axis}`);
  return builder.batchNorm(
    x,
    {
      weight: fields.flag('scale', true) ? weight('gamma') : undefined,
      bias: fields.flag('center', true) ? weight('beta') : undefined,
      mean: weight('moving_mean'),
      variance: weight('moving_variance'),
      eps: fields.number('epsilon', 1e-3),
      momentum: Math.min(1, Math.max(0, 1 - fields.number('momentum', 0.99))),
    },
    name,
  );
}

/** A slope per channel is a layer; slopes per place are numbers of the graph. */
function prelu({ builder, name, inputs, weight }: Call): Value {
  const x = inputs[0]!;
  const alpha = weight('alpha');
  const channels = alpha.shape.at(-1) ?? 1;
  if (sizeOf(alpha.shape) === channels) return builder.prelu(x, host(alpha.data, [channels]), name);
  const slopes = builder.parameter(host(alpha.data, [1, ...alpha.shape]), `${name}.alpha`);
  const below = builder.apply('mul', [builder.apply('min', [x], { value: 0 }), slopes]);
  return builder.apply('add', [builder.apply('relu', [x]), below], {}, name);
}

function relu({ builder, name, inputs, fields }: Call): Value {
  const most =
    fields.all.max_value === null || fields.all.max_value === undefined ? undefined : fields.number('max_value');
  const slope = fields.number('negative_slope', 0);
  if (fields.number('threshold', 0) !== 0) unsupported('ReLU with a threshold');
  if (most === 6 && slope === 0) return builder.apply('relu6', inputs, {}, name);
  const y = slope ? builder.apply('leakyRelu', inputs, { slope }, name) : builder.apply('relu', inputs, {}, name);
  return most === undefined ? y : builder.apply('min', [y], { value: most });
}

/** Two sides of each axis: ((top, bottom), (left, right)); (down, right) or one number stand for both. */
function sides(fields: Fields, key: string): readonly [number, number, number, number] {
  const given = fields.all[key] ?? 1;
  const list = Array.isArray(given) ? given : [given, given];
  const flat = list.flatMap((p) => (Array.isArray(p) ? p : [p, p]));
  if (flat.length === 4 && flat.every((n) => Number.isSafeInteger(n) && n >= 0))
    return flat as [number, number, number, number];
  return unsupported(`${key} ${JSON.stringify(given)?.slice(0, 60)}`);
}
function zeroPadding({ builder, name, inputs, fields }: Call): Value {
  checkOrder(fields);
  const [top, bottom, left, right] = sides(fields, 'padding');
  return builder.apply(
    'pad',
    inputs,
    {
      pads: [
        [0, 0],
        [top, bottom],
        [left, right],
        [0, 0],
      ],
      value: 0,
    },
    name,
  );
}
function cropping({ builder, name, inputs, fields }: Call): Value {
  checkOrder(fields);
  const [top, bottom, left, right] = sides(fields, 'cropping');
  const [, h, w] = inputs[0]!.shape as [number, number, number];
  const rows = builder.apply('slice', inputs, { axis: 1, start: top, end: h - bottom }, name);
  return builder.apply('slice', [rows], { axis: 2, start: left, end: w - right });
}

const pooling =
  (op: 'maxPool' | 'avgPool'): Layer =>
  (call) => {
    const { builder, name, inputs, fields } = call;
    const kernel = fields.pair('pool_size', [2, 2]);
    const strides = fields.all.strides === null ? kernel : fields.pair('strides', kernel);
    const { padding } = window({ ...call, fields: new Fields({ ...fields.all, strides }) }, inputs, kernel, kernel);
    // TensorFlow's means do not count what is around the image.
    const counts = op === 'avgPool' ? { countIncludePad: false } : {};
    return builder.apply(op, inputs, { kernel, stride: strides, padding, ...counts }, name);
  };
const globalPooling =
  (kind: string): Layer =>
  ({ builder, name, inputs, fields }) => {
    checkOrder(fields);
    return builder.apply('reduce', inputs, { kind, axes: [1, 2], keep: fields.flag('keepdims', false) }, name);
  };

/** Two values or more, one after the other. */
const merge =
  (op: string): Layer =>
  ({ builder, name, inputs }) =>
    inputs.reduce((a, b) => builder.apply(op, [a, b], {}, name));
const average: Layer = (call) =>
  call.builder.apply('div', [merge('add')(call)], { value: call.inputs.length }, `${call.name}.mean`);
const concatenate: Layer = ({ builder, name, inputs, fields }) =>
  builder.apply('concat', inputs, { axis: fields.number('axis', -1) }, name);

function upSampling({ builder, name, inputs, fields }: Call): Value {
  checkOrder(fields);
  const [down, right] = fields.pair('size', [2, 2]);
  const mode = fields.text('interpolation', 'nearest');
  if (mode !== 'nearest' && mode !== 'bilinear') unsupported(`upsampling of kind ${mode}`);
  const [, h, w] = inputs[0]!.shape as [number, number, number];
  return builder.apply('resize', inputs, { size: [h * down, w * right], mode }, name);
}

function reshape({ builder, name, inputs, fields }: Call): Value {
  return builder.apply('reshape', inputs, { shape: [0, ...fields.numbers('target_shape')] }, name);
}
const flatten: Layer = ({ builder, name, inputs }) => builder.apply('reshape', inputs, { shape: [0, -1] }, name);
const permute: Layer = ({ builder, name, inputs, fields }) =>
  builder.apply('transpose', inputs, { axes: [0, ...fields.numbers('dims')] }, name);
const dropout: Layer = ({ builder, name, inputs, fields }) =>
  builder.apply('dropout', inputs, { rate: fields.number('rate', 0.5) }, name);
const same: Layer = ({ inputs }) => inputs[0]!;
const rescaling: Layer = ({ builder, name, inputs, fields }) =>
  builder.apply('add', [builder.apply('mul', inputs, { value: fields.number('scale', 1) }, name)], {
    value: fields.number('offset', 0),
  });
/** TensorFlow's x/sqrt(max(Σx², 1e-12)). */
const unit: Layer = ({ builder, name, inputs }) => builder.apply('l2Normalize', inputs, { axis: -1, eps: 1e-6 }, name);

/**
 * A Lambda is a program, and none is run. One that only takes the length off, which is how face networks end, is told by the
 * name of the function that it calls.
 */
export const normalizes = (config: Readonly<Record<string, unknown>>): boolean => {
  const code = [config.function].flat(3).filter((s) => typeof s === 'string');
  return code.some((text) => {
    if (/^(\w+\.)*l2_normali[sz]e$/.test(text)) return true;
    let plain = '';
    try {
      plain = atob(text.replace(/\s/g, ''));
    } catch {
      return false;
    }
    // Names in compiled code: what else it calls would stand there too.
    const called = plain.match(/(reduce_\w+|matmul|resize\w*|softmax|concat\w*|transpose)/);
    return plain.includes('l2_normalize') && !called;
  });
};
const lambda: Layer = (call) => {
  call.note(`${call.name}: a Lambda that calls l2_normalize is taken for x/‖x‖ over the last axis`);
  return unit(call);
};

const slopeOf = (f: Fields): number => f.number('negative_slope', f.number('alpha', 0.3));

/** By class. */
export const kerasLayers: ReadonlyMap<string, Layer> = new Map<string, Layer>([
  ['Conv2D', conv2d],
  ['Convolution2D', conv2d],
  ['DepthwiseConv2D', depthwiseConv2d],
  ['SeparableConv2D', separableConv2d],
  ['SeparableConvolution2D', separableConv2d],
  ['Dense', dense],
  ['BatchNormalization', batchNormalization],
  ['BatchNormalizationV1', batchNormalization],
  ['SyncBatchNormalization', batchNormalization],
  ['PReLU', prelu],
  ['LeakyReLU', (c) => c.builder.apply('leakyRelu', c.inputs, { slope: slopeOf(c.fields) }, c.name)],
  ['ReLU', relu],
  ['ELU', (c) => c.builder.apply('elu', c.inputs, { alpha: c.fields.number('alpha', 1) }, c.name)],
  ['Softmax', (c) => c.builder.apply('softmax', c.inputs, { axis: c.fields.numbers('axis', [-1])[0] }, c.name)],
  ['Activation', (c) => activate(c, c.inputs[0]!, c.fields.all.activation, c.name)],
  ['ZeroPadding2D', zeroPadding],
  ['Cropping2D', cropping],
  ['Add', merge('add')],
  ['Subtract', merge('sub')],
  ['Multiply', merge('mul')],
  ['Maximum', merge('max')],
  ['Minimum', merge('min')],
  ['Average', average],
  ['Concatenate', concatenate],
  ['MaxPooling2D', pooling('maxPool')],
  ['AveragePooling2D', pooling('avgPool')],
  ['GlobalAveragePooling2D', globalPooling('mean')],
  ['GlobalMaxPooling2D', globalPooling('max')],
  ['UpSampling2D', upSampling],
  ['Flatten', flatten],
  ['Reshape', reshape],
  ['Permute', permute],
  ['Dropout', dropout],
  ['SpatialDropout2D', dropout],
  ['GaussianNoise', same],
  ['GaussianDropout', same],
  ['ActivityRegularization', same],
  ['Rescaling', rescaling],
  ['UnitNormalization', unit],
  ['Lambda', lambda],
]);
