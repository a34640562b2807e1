/** Conversion between dtypes, 16 elements to a turn: bytes are widened to 32-bit lanes, converted there, and packed again. */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import { stridedCopy } from './stridedCopy.ts';
import { type Fn, f32x4, i32x4, loadSplat, loadU8, loadV128, type V128 } from './wasm.ts';

/** Elements of one chunk. */
const flatChunk = 1 << 14;

/** Four lanes of one dtype (bytes widened to 32 bits) as another. */
function convert(f: Fn, from: DType, to: DType, v: V128): V128 {
  const float = from === 'f32';
  if (to === 'f32') return float ? v : v.toFloat();
  if (to === 'bool') return (float ? v.ne(f32x4(0)) : v.ieq(i32x4(0)).not()).and(i32x4(1));
  if (to === 'u8' && float) {
    // Cheaper than the saturating conversion: after clamping (NaN compares false), 2²³ + x has x in its low bits.
    const x = f.let(v);
    const low = f.let(x.and(x.gt(f32x4(0))));
    return f32x4(255)
      .select(low, low.gt(f32x4(255)))
      .trunc()
      .add(f32x4(2 ** 23))
      .and(i32x4(255));
  }
  const int = float ? v.toInt() : v;
  if (to === 'i32' || bytesOf(from) === 1) return int;
  const x = f.let(int);
  const low = f.let(x.andnot(x.ishrS(31)));
  return i32x4(255).select(low, low.igtS(i32x4(255)));
}

const castKernel = (from: DType, to: DType) =>
  defineKernel({
    key: `cast_${from}_${to}`,
    args: { dst: 'i32', src: 'i32', n: 'i32' },
    chunk(f, a, chunk) {
      const i = f.let(chunk.mul(flatChunk));
      const end = f.let(i.add(flatChunk));
      f.set(end, end.minS(a.n));
      const s = f.let(a.src.add(i.mul(bytesOf(from))));
      const d = f.let(a.dst.add(i.mul(bytesOf(to))));
      const end16 = f.let(end.sub(15));
      f.while(i.ltS(end16), () => {
        let parts: V128[];
        if (bytesOf(from) === 4) parts = [0, 16, 32, 48].map((o) => loadV128(s, o));
        else {
          const v = f.let(loadV128(s));
          const [l, h] = [f.let(v.extendLowU8()), f.let(v.extendHighU8())];
          parts = [l.extendLowU16(), l.extendHighU16(), h.extendLowU16(), h.extendHighU16()];
        }
        const out = parts.map((v): V128 => f.let(convert(f, from, to, v))) as [V128, V128, V128, V128];
        if (bytesOf(to) === 4) for (const [k, v] of out.entries()) f.storeV128(d, v, 16 * k);
        else {
          // The low byte of each lane.
          const low = [0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0];
          f.storeV128(d, out[0].shuffle(out[1], low).lanes(out[2].shuffle(out[3], low), [0, 1, 4, 5]));
        }
        f.inc(s, 16 * bytesOf(from));
        f.inc(d, 16 * bytesOf(to));
        f.inc(i, 16);
      });
      f.while(i.ltS(end), () => {
        const v = f.let(convert(f, from, to, bytesOf(from) === 4 ? loadSplat(s) : loadU8(s).splat()));
        if (bytesOf(to) === 4) f.storeI32(d, v.ilane(0));
        else f.storeU8(d, v.ilane(0));
        f.inc(s, bytesOf(from));
        f.inc(d, bytesOf(to));
        f.inc(i, 1);
      });
    },
  });
const castKernels = new Map<string, ReturnType<typeof castKernel>>();

/**
 * Converts elements to dtype `to` (the output's). Fractions go toward zero, i32 and u8 saturate, NaN gives 0; bool is
 * x ≠ 0, so NaN is true.
 */
export const castWasm: Lowering<{ readonly to: DType }> = (e, [x], [y], { to }) => {
  const from = x!.dtype;
  const n = x!.shape.reduce((p, m) => p * m, 1);
  if (n === 0) return;
  if (from === to || (from === 'bool' && to === 'u8')) {
    const plain = { dst: y!.buffer, src: x!.buffer, dims: [n], srcStrides: [1], dstStrides: [1] };
    stridedCopy(e, { ...plain, elementBytes: bytesOf(from) as 1 | 4 });
    return;
  }
  const key = `${from} ${to}`;
  const kernel = castKernels.get(key) ?? castKernel(from, to);
  castKernels.set(key, kernel);
  e.call(kernel, { dst: y!.buffer, src: x!.buffer, n }, Math.ceil(n / flatChunk));
};
