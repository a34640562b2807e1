/** Conversion between dtypes, 16 elements to a turn: bytes are widened to 32-bit lanes, converted there, and packed again. */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import { stridedCopy } from './stridedCopy.ts';
import { f32x4, i32x4, loadSplat, loadU8, loadV128, type V128 } from './wasm.ts';

/** Elements of one chunk. */
const flatChunk = 1 << 14;

/** Four lanes of one dtype (bytes widened to 32 bits) as another; narrowing them to bytes saturates. */
function convert(from: DType, to: DType, v: V128): V128 {
  const float = from === 'f32';
  if (to === 'f32') return float ? v : v.toFloat();
  if (to === 'bool') return (float ? v.ne(f32x4(0)) : v.ieq(i32x4(0)).not()).and(i32x4(1));
  return float ? v.toInt() : v;
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
        const out = parts.map((v): V128 => f.let(convert(from, to, v))) as [V128, V128, V128, V128];
        if (bytesOf(to) === 4) for (const [k, v] of out.entries()) f.storeV128(d, v, 16 * k);
        else {
          f.storeV128(d, out[0].narrowI16(out[1]).narrowU8(out[2].narrowI16(out[3])));
        }
        f.inc(s, 16 * bytesOf(from));
        f.inc(d, 16 * bytesOf(to));
        f.inc(i, 16);
      });
      f.while(i.ltS(end), () => {
        const v = f.let(convert(from, to, bytesOf(from) === 4 ? loadSplat(s) : loadU8(s).splat()));
        if (bytesOf(to) === 4) f.storeI32(d, v.ilane(0));
        else f.storeU8(d, v.narrowI16(v).narrowU8(v).ilane(0));
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
