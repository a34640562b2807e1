/**
 * Sizes of a 2-D convolution, and the gathers its passes are made of.
 *
 * The one idea: forward and weight gradient gather windows of x. The input gradient gathers windows of dy, one stride phase
 * of dx at a time: input rows i ≡ q − padding (mod stride) meet the taps k with k·dilation ≡ q, so nothing is multiplied
 * by the zeros that a strided transpose would insert.
 */
import { ShapeError } from '../src/core/errors.ts';
import type { GatherAxis } from './im2col.ts';
import type { Value } from './lower.ts';
import { type Axis, outputSize } from './window.ts';

/** Attributes of a 2-D convolution over NHWC. */
export interface ConvAttrs {
  /** [down, right], at least 1. */
  readonly stride: readonly [number, number];
  /** Zeros around the input: [top, bottom, left, right]. */
  readonly padding: readonly [number, number, number, number];
  /** Distance between taps: [down, right], at least 1. */
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

export interface ConvGeometry {
  readonly batch: number;
  readonly rows: Axis;
  readonly columns: Axis;
  readonly groups: number;
  /** Channels of x and y. */
  readonly cin: number;
  readonly cout: number;
}

/**
 * Reads and checks the sizes of x [N, H, W, Cin], w [kh, kw, Cin/groups, Cout], y [N, OH, OW, Cout].
 * @throws ShapeError where they do not fit.
 */
export function convGeometry(op: string, x: Value, w: Value, y: Value, attrs: ConvAttrs): ConvGeometry {
  const [batch = 0, height = 0, width = 0, cin = 0] = x.shape;
  const [kh = 0, kw = 0, perGroup = 0, cout = 0] = w.shape;
  const { stride, dilation, groups } = attrs;
  const [top, bottom, left, right] = attrs.padding;
  const oh = outputSize(height, top + bottom, kh, stride[0], dilation[0]);
  const ow = outputSize(width, left + right, kw, stride[1], dilation[1]);
  const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);
  if (
    x.shape.length !== 4 ||
    w.shape.length !== 4 ||
    perGroup * groups !== cin ||
    cout % groups !== 0 ||
    !same(y.shape, [batch, oh, ow, cout])
  )
    throw new ShapeError(
      `${op}: expected x [N, H, W, Cin], w [kh, kw, Cin/groups, Cout] and y [${batch}, ${oh}, ${ow}, ${cout}]; ` +
        `got x [${x.shape}], w [${w.shape}], y [${y.shape}], groups ${groups}.\n` +
        'Cin and Cout must be multiples of groups; check stride, padding and dilation.',
    );
  const axis = (size: number, outSize: number, kernel: number, i: 0 | 1, before: number): Axis => ({
    size,
    outSize,
    kernel,
    stride: stride[i],
    dilation: dilation[i],
    before,
  });
  return { batch, rows: axis(height, oh, kh, 0, top), columns: axis(width, ow, kw, 1, left), groups, cin, cout };
}

/** The sizes of a gather, as its kernel's arguments. */
export const gatherSizes = (rows: TapAxis, columns: TapAxis) => ({
  inRows: rows.inSize,
  inColumns: columns.inSize,
  outRows: rows.outSize,
  outColumns: columns.outSize,
});

/** An axis of a gather, the kernel taps behind it, and where its outputs lie. */
export interface TapAxis {
  readonly gather: GatherAxis;
  /** Sizes of what is read and what is made. */
  readonly inSize: number;
  readonly outSize: number;
  /** Kernel tap of gather tap i: first + i·step. */
  readonly firstTap: number;
  readonly tapStep: number;
  /** Place of output o: place + o·every. */
  readonly place: number;
  readonly every: number;
}

/** Windows of x: output o reads o·stride − before + k·dilation. */
export const forwardAxis = (a: Axis): TapAxis => ({
  gather: {
    stride: a.stride,
    offset: -a.before,
    step: a.dilation,
    taps: a.kernel,
  },
  inSize: a.size,
  outSize: a.outSize,
  firstTap: 0,
  tapStep: 1,
  place: 0,
  every: 1,
});

const gcd = (a: number, b: number): number => (b ? gcd(b, a % b) : a);

/** Windows of dy for input places i with i + before ≡ phase (mod stride), in ascending order of dy. */
export function gradAxis(a: Axis, phase: number): TapAxis {
  const place = (((phase - a.before) % a.stride) + a.stride) % a.stride;
  const common = gcd(a.stride, a.dilation);
  const taps = Array.from({ length: a.kernel }, (_, k) => k).filter((k) => (k * a.dilation) % a.stride === phase);
  const last = taps[taps.length - 1] ?? 0;
  return {
    gather: {
      stride: 1,
      // (place + before − last·dilation) / stride, a whole number where there is a tap.
      offset: taps.length ? (place + a.before - last * a.dilation) / a.stride : 0,
      step: a.dilation / common,
      taps: taps.length,
    },
    inSize: a.outSize,
    outSize: Math.max(0, Math.ceil((a.size - place) / a.stride)),
    firstTap: last,
    tapStep: -a.stride / common,
    place,
    every: a.stride,
  };
}
