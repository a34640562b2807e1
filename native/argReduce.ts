/**
 * argmax and argmin over the middle axis of [outer, red, inner].
 *
 * The one idea: every lane keeps its best value and the index where it stood, replaced only by a strictly better one; the
 * lanes of a row meet at the end, where equal values go to the lower index. So the first of equals wins.
 */
import { byteShift, loadElements } from './elements.ts';
import { type ArgType, defineKernel, type Kernel } from './kernel.ts';
import type { Emitter, Value } from './lower.ts';
import { f32x4, type I32, i32, i32x4, type Local, select, type V128 } from './wasm.ts';

export interface ArgReduceSpec {
  readonly op: 'max' | 'min';
  /** [outer, red, inner], the contiguous shape of the input; red ≥ 1. */
  readonly space: readonly [number, number, number];
  readonly input: Value;
  /** i32, outer · inner elements. */
  readonly output: Value;
}

const better = (op: 'max' | 'min', a: V128, b: V128) => (op === 'max' ? a.gt(b) : a.lt(b));
const worst = (op: 'max' | 'min') => (op === 'max' ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY);

const args = { x: 'i32', y: 'i32', outer: 'i32', red: 'i32', inner: 'i32', outers: 'i32' } as const satisfies Record<
  string,
  ArgType
>;

function rowKernel(op: 'max' | 'min', dtype: Value['dtype']): Kernel<typeof args> {
  return defineKernel({
    key: `argReduceRows_${op}_${dtype}`,
    args,
    chunk(f, { x, y, outer, red, outers }, chunk) {
      const o0 = f.let(chunk.mul(outers));
      const o1 = f.let(o0.add(outers));
      f.set(o1, o1.minS(outer));
      const body = f.let(red.and(-8));
      f.for(o0, o1, 1, (o) => {
        const from = f.let(x.add(o.mul(red).shl(byteShift(dtype))));
        const best = [0, 1, 2].map(() => f.let(f32x4(worst(op))));
        const index = [0, 1, 2].map(() => f.let(i32x4(0)));
        const now = [f.let(i32x4(0, 1, 2, 3)), f.let(i32x4(4, 5, 6, 7))];
        const take = (lane: number, v: V128, i: V128) => {
          const wins = f.let(better(op, v, best[lane]!));
          f.set(best[lane]!, v.select(best[lane]!, wins));
          f.set(index[lane]!, i.select(index[lane]!, wins));
        };
        f.for(0, body, 8, (i) => {
          const at = f.let(from.add(i.shl(byteShift(dtype))));
          loadElements(f, dtype, at, 8).forEach((v, h) => {
            take(h, v, now[h]!);
            f.set(now[h]!, now[h]!.iadd(i32x4(8)));
          });
        });
        f.for(body, red, 1, (i) => {
          const at = f.let(from.add(i.shl(byteShift(dtype))));
          take(2, loadElements(f, dtype, at, 1)[0]!, f.let(i.splat()));
        });
        const value = f.let(best[0]!.lane(0));
        const place = f.let(index[0]!.ilane(0));
        const meet = (k: number, lane: 0 | 1 | 2 | 3) => {
          const v = f.let(best[k]!.lane(lane));
          const i = f.let(index[k]!.ilane(lane));
          const wins = f.let((op === 'max' ? v.gt(value) : v.lt(value)).or(v.eq(value).and(i.ltS(place))));
          f.set(value, select(wins, v, value));
          f.set(place, select(wins, i, place) as I32);
        };
        for (const k of [0, 1]) for (const lane of [0, 1, 2, 3] as const) if (k || lane) meet(k, lane);
        // The tail stands in every lane of its vector.
        meet(2, 0);
        // A NaN in front is never beaten.
        const first = f.let(loadElements(f, dtype, from, 1)[0]!.lane(0));
        f.storeI32(y.add(o.shl(2)), select(first.ne(first), i32(0), place));
      });
    },
  });
}

function columnKernel(op: 'max' | 'min', dtype: Value['dtype']): Kernel<typeof args> {
  return defineKernel({
    key: `argReduceColumns_${op}_${dtype}`,
    args,
    chunk(f, { x, y, outer, red, inner, outers }, chunk) {
      const o0 = f.let(chunk.mul(outers));
      const o1 = f.let(o0.add(outers));
      f.set(o1, o1.minS(outer));
      const step = f.let(inner.shl(byteShift(dtype)));
      f.for(o0, o1, 1, (o) => {
        const emit = (i: Local<I32>, width: 8 | 1) => {
          const from = f.let(x.add(o.mul(red).mul(inner).add(i).shl(byteShift(dtype))));
          // Starts from row 0, so that a NaN there is never beaten.
          const best = loadElements(f, dtype, from, width) as Local<V128>[];
          const index = best.map(() => f.let(i32x4(0)));
          f.for(1, red, 1, (r) => {
            f.inc(from, step);
            const now = f.let(r.splat());
            loadElements(f, dtype, from, width).forEach((v, h) => {
              const wins = f.let(better(op, v, best[h]!));
              f.set(best[h]!, v.select(best[h]!, wins));
              f.set(index[h]!, now.select(index[h]!, wins));
            });
          });
          const to = f.let(y.add(o.mul(inner).add(i).shl(2)));
          if (width === 1) f.storeI32(to, index[0]!.ilane(0));
          else {
            f.storeV128(to, index[0]!);
            f.storeV128(to, index[1]!, 16);
          }
        };
        const body = f.let(inner.and(-8));
        f.for(0, body, 8, (i) => emit(i, 8));
        f.for(body, inner, 1, (i) => emit(i, 1));
      });
    },
  });
}

/**
 * Index along the middle axis of the largest (smallest) element, the first of equals. NaN counts as no candidate, except
 * that one at index 0 stays.
 */
export function argReduceWasm(e: Emitter, { op, space, input, output }: ArgReduceSpec): void {
  const [outer, red, inner] = space;
  if (outer * inner === 0) return;
  const outers = Math.max(1, Math.floor(16384 / (red * inner)));
  const kernel = inner === 1 ? rowKernel(op, input.dtype) : columnKernel(op, input.dtype);
  e.call(kernel, { x: input.buffer, y: output.buffer, outer, red, inner, outers }, Math.ceil(outer / outers));
}
