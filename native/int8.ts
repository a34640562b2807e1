/**
 * Convolutions of 8-bit numbers: what their operands mean, and how a sum of products becomes the 8 bits that are stored.
 *
 * The one idea: activations lie in memory as uint8 q with value scale·(q − zero), and are widened and shifted by their zero
 * point when a kernel reads them. So padding is 0, no sum needs correcting, and the sum is exact: in 32-bit lanes or, where
 * it stays below 2^24, in float32. From there on every step is one float32 operation, the same everywhere, so results are
 * the same to the bit on every machine:
 *
 *   t = f32(Σ (x − zero)·(w − 128) + bias) · scale[o]
 *   t = t + (r − residual.zero) · residual.scale       where another value is added
 *   t = t < 0 ? t · slope[o] : t                       where there are slopes
 *   y = round(min(max(t, low − zero'), high − zero')) + zero'    halves to even; or t itself, as float32
 *
 * After Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference" (CVPR
 * 2018, arXiv 1712.05877), with a float32 factor in place of their fixed-point one.
 */
import type { ConvAttrs } from './convGeometry.ts';
import type { ArgType } from './kernel.ts';
import type { Value } from './lower.ts';
import { type F32, type Fn, f32x4, type I32, type Local, loadV128, loadWideU8, type V128 } from './wasm.ts';

export interface Int8Attrs extends ConvAttrs {
  /** Zero point of x. */
  readonly zero: number;
  /** Zero point of y and its least and greatest level; without it y is float32. */
  readonly output?: { readonly zero: number; readonly low: number; readonly high: number };
  /** The last operand is a value of y's shape that is added. */
  readonly residual?: { readonly zero: number; readonly scale: number };
  /** There are slopes; `small` where none is over 1, which is quicker. */
  readonly slopes: 'none' | 'small' | 'any';
}

/** Elements that bias, scale and slope hold for some channels: kernels read them in whole vectors. */
export const paddedChannels = (channels: number): number => (channels + 31) & ~15;

/** Weights are stored as w + 128 in a byte. */
export const weightZero = 128;

/** Operands by role, in the order of the op. */
export function operandsOf([x, w, scale, bias, ...rest]: readonly Value[], a: Int8Attrs) {
  return {
    x: x!,
    w: w!,
    scale: scale!,
    bias: bias!,
    slope: a.slopes !== 'none' ? rest[0] : undefined,
    residual: a.residual && rest.at(-1),
  };
}

/** 1.5·2^23: added to a float32 below 2^22 it leaves the nearest whole number, halves to even, in the low bits. */
const magic = 12582912;
const magicBits = 0x4b400000;

export const resultArgs = {
  y: 'i32',
  scale: 'i32',
  bias: 'i32',
  slope: 'i32',
  residual: 'i32',
  residualZero: 'i32',
  residualScale: 'f32',
  /** Of y: the zero point, and the bounds less it. */
  zeroOut: 'i32',
  low: 'f32',
  high: 'f32',
} as const satisfies Record<string, ArgType>;

/** Values of `resultArgs` but for y. Operands that are missing are not read. */
export function resultValues(inputs: readonly Value[], a: Int8Attrs) {
  const { scale, bias, slope, residual } = operandsOf(inputs, a);
  const { zero, low, high } = a.output ?? { zero: 0, low: 0, high: 0 };
  return {
    scale: scale.buffer,
    bias: bias.buffer,
    slope: slope?.buffer ?? 0,
    residual: residual?.buffer ?? 0,
    residualZero: a.residual?.zero ?? 0,
    residualScale: a.residual?.scale ?? 0,
    zeroOut: zero,
    low: low - zero,
    high: high - zero,
  };
}

export const resultKey = (a: Int8Attrs): string =>
  `${a.output ? 'u8' : 'f32'}${a.slopes === 'none' ? '' : `_${a.slopes}`}${a.residual ? '_residual' : ''}`;

type ResultArgs = {
  readonly [K in keyof typeof resultArgs]: (typeof resultArgs)[K] extends 'i32' ? Local<I32> : Local<F32>;
};

/** Bytes of scratch memory that a `ResultStore` needs. */
export const resultScratchBytes = 64;

/** Finishes and stores sums, eight neighbouring channels at a time. */
export class ResultStore {
  private readonly f: Fn;
  private readonly attrs: Int8Attrs;
  private readonly args: ResultArgs;
  private readonly edge: Local<I32>;
  private readonly splats: Readonly<
    Record<'low' | 'high' | 'magic' | 'offset' | 'residualZero' | 'residualScale', Local<V128>>
  >;
  /** log2 of the bytes of an element of y. */
  readonly shift: 0 | 2;

  /** `scratch` is the address of `resultScratchBytes`. */
  constructor(f: Fn, attrs: Int8Attrs, args: ResultArgs, scratch: I32) {
    this.f = f;
    this.attrs = attrs;
    this.args = args;
    this.edge = f.let(scratch) as Local<I32>;
    this.shift = attrs.output ? 0 : 2;
    this.splats = {
      low: f.let(args.low.splat()) as Local<V128>,
      high: f.let(args.high.splat()) as Local<V128>,
      magic: f.let(f32x4(magic)) as Local<V128>,
      offset: f.let(args.zeroOut.sub(magicBits).splat()) as Local<V128>,
      residualZero: f.let(args.residualZero.splat()) as Local<V128>,
      residualScale: f.let(args.residualScale.splat()) as Local<V128>,
    };
  }

  /** What the eight channels at byte `at` of the bias, scale and slope need; load it once for several sums. */
  channels(at: I32): ChannelParameters {
    const { f, args } = this;
    const two = (from: Local<I32>) => {
      const place = f.let(from.add(at));
      return [f.let(loadV128(place)), f.let(loadV128(place, 16))] as const;
    };
    return {
      bias: two(args.bias),
      scale: two(args.scale),
      slope: this.attrs.slopes !== 'none' ? two(args.slope) : undefined,
    };
  }

  /** t of two vectors of f32(sum + bias). */
  private value(x: readonly V128[], c: ChannelParameters, residual: I32): Local<V128>[] {
    const { f, attrs, splats } = this;
    const t = x.map((v, i) => f.let(v.mul(c.scale[i]!)));
    if (attrs.residual) {
      const wide = f.let(loadWideU8(residual));
      [wide.extendLowU16(), wide.extendHighU16()].forEach((r, i) => {
        const dr = r.isub(splats.residualZero).toFloat().mul(splats.residualScale);
        f.set(t[i]!, t[i]!.add(dr) as Local<V128>);
      });
    }
    if (c.slope)
      t.forEach((v, i) => {
        const slope = c.slope![i]!;
        // A slope of at most 1 makes the greater of t and t·slope what is wanted, on either side of 0.
        f.set(
          v,
          (attrs.slopes === 'small'
            ? v.pmax(v.mul(slope))
            : v.pmax(f32x4(0)).add(v.pmin(f32x4(0)).mul(slope))) as Local<V128>,
        );
      });
    return t;
  }

  /** Stores eight channels at element `index` of y. `x` is f32(sum + bias). */
  eight(x: readonly V128[], c: ChannelParameters, index: I32): void {
    const { args } = this;
    const place = this.f.let(index);
    this.write(this.value(x, c, args.residual.add(place)), args.y.add(place.shl(this.shift)));
  }

  /** Stores the first `count` of eight. */
  some(x: readonly V128[], c: ChannelParameters, index: I32, count: Local<I32>): void {
    const { f, args, edge, attrs } = this;
    const place = f.let(index);
    if (attrs.residual) f.copy(edge, args.residual.add(place), count);
    this.write(this.value(x, c, edge), f.let(edge.add(16)));
    f.copy(args.y.add(place.shl(this.shift)), edge.add(16), count.shl(this.shift));
  }

  private write(t: readonly Local<V128>[], to: I32): void {
    const { f, attrs, splats } = this;
    if (!attrs.output) {
      const at = f.let(to);
      f.storeV128(at, t[0]!);
      f.storeV128(at, t[1]!, 16);
      return;
    }
    const [a, b] = t.map((v) => f.let(v.pmax(splats.low).pmin(splats.high).add(splats.magic).iadd(splats.offset)));
    const words = f.let(a!.narrowI16(b!));
    f.storeHalf(to, words.narrowU8(words));
  }
}

export interface ChannelParameters {
  readonly bias: readonly [Local<V128>, Local<V128>];
  readonly scale: readonly [Local<V128>, Local<V128>];
  readonly slope: readonly [Local<V128>, Local<V128>] | undefined;
}

/** Eight bytes at an address as 16-bit lanes less a zero point. */
export const widened = (at: I32, zero: V128, offset = 0): V128 => loadWideU8(at, offset).subI16(zero);

/** The zero point in all eight 16-bit lanes. */
export const zeroLanes = (f: Fn, zero: I32): Local<V128> => f.let(zero.mul(0x10001).splat()) as Local<V128>;
