/**
 * Counter-based random numbers: Threefry-2x32 with 20 rounds (Salmon et al. 2011), eight counters to a turn.
 * Element i is word 0 of counter (i, stream), equal to the bit to `threefry` of src/core/random.ts. Shifts and not byte
 * shuffles for the rotations, because shifts of adjacent vectors fuse in wide mode.
 */
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import { f32x4, i32, i32x4, loadI32, type V128 } from './wasm.ts';

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;
/** Elements of one chunk. */
const chunkElements = 1 << 13;

const threefryKernel = (key: string, finish: (bits: V128) => V128) =>
  defineKernel({
    key,
    args: { dst: 'i32', key: 'i32', n: 'i32', stream: 'i32' },
    scratchBytes: 32,
    chunk(f, a, chunk, scratch) {
      const i = f.let(chunk.mul(chunkElements));
      const end = f.let(i.add(chunkElements));
      f.set(end, end.minS(a.n));
      const d = f.let(a.dst.add(i.shl(2)));
      const [k0, k1] = [f.let(loadI32(a.key)), f.let(loadI32(a.key, 4))];
      const k2 = i32(0x1bd11bda).xor(k0).xor(k1);
      const ks = [f.let(k0.splat()), f.let(k1.splat()), f.let(k2.splat())] as const;
      const start1 = f.let(k1.add(a.stream).splat());
      const counters = [f.let(i.splat().iadd(i32x4(0, 1, 2, 3))), f.let(i.splat().iadd(i32x4(4, 5, 6, 7)))];
      f.while(i.ltS(end), () => {
        const x = counters.map((c) => ({ 0: f.let(c.iadd(ks[0])), 1: f.let<V128>(start1) }));
        for (let round = 0; round < 20; round++) {
          const r = rotations[round % 8]!;
          for (const v of x) f.set(v[0], v[0].iadd(v[1]));
          for (const v of x)
            f.set(
              v[1],
              v[1]
                .ishl(r)
                .or(v[1].ishrU(32 - r))
                .xor(v[0]),
            );
          if (round % 4 === 3) {
            const s = (round + 1) / 4;
            for (const v of x) f.set(v[0], v[0].iadd(ks[(s % 3) as 0 | 1 | 2]));
            for (const v of x) f.set(v[1], v[1].iadd(ks[((s + 1) % 3) as 0 | 1 | 2]).iadd(i32x4(s)));
          }
        }
        const left = f.let(end.sub(i));
        f.if(
          left.geS(8),
          () => x.forEach((v, k) => void f.storeV128(d, finish(v[0]), 16 * k)),
          () => {
            x.forEach((v, k) => void f.storeV128(scratch, finish(v[0]), 16 * k));
            f.for(0, left, 1, (j) => f.storeI32(d.add(j.shl(2)), loadI32(scratch.add(j.shl(2)))));
          },
        );
        for (const c of counters) f.set(c, c.iadd(i32x4(8)));
        f.inc(d, 32);
        f.inc(i, 8);
      });
    },
  });

const uniform = threefryKernel('threefryUniform', (bits) =>
  bits
    .ishrU(8)
    .toFloat()
    .mul(f32x4(2 ** -24)),
);
const bits = threefryKernel('threefryBits', (b) => b);

export interface RandomAttrs {
  /** Second word of every counter: draws of different streams under one key are independent. Default 0. */
  readonly stream?: number;
}
const lower =
  (kernel: typeof bits): Lowering<RandomAttrs> =>
  (e, [key], [y], { stream = 0 }) => {
    const n = y!.shape.reduce((p, m) => p * m, 1);
    const args = { dst: y!.buffer, key: key!.buffer, n, stream: stream | 0 };
    if (n > 0) e.call(kernel, args, Math.ceil(n / chunkElements));
  };

/** key i32 [2] (the words of a `Key`) → f32 in [0, 1): element i is the top 24 bits of word 0 of counter (i, stream). */
export const randomUniformWasm = lower(uniform);
/** key i32 [2] → i32: element i is word 0 of counter (i, stream), as a signed number. */
export const randomBitsWasm = lower(bits);
