/**
 * The k largest of each row, in descending order; of equal values the lower index comes first, NaN counts as largest.
 *
 * A heap of the best k so far, worst at its root, lives in the outputs themselves: order-preserving integer keys where
 * the values will be, beside their indices. Eight elements at a time are compared with the root; few pass (about
 * k·ln(n/k) of n in random order). The heap is then sorted in place and its keys are replaced by the values.
 */
import { defineKernel } from './kernel.ts';
import type { Lowering } from './lower.ts';
import {
  type Fn,
  type I32,
  type IntLike,
  i32,
  type Local,
  loadF32,
  loadI32,
  loadSplat,
  loadV128,
  select,
} from './wasm.ts';

/** A signed integer in the order of the float at the address: −0 equals 0, every NaN is above infinity. */
function orderKey(f: Fn, address: I32): I32 {
  const x = f.let(loadF32(address));
  const bits = f.let(x.add(0).asI32());
  return select(x.ne(x), i32(0x7fffffff), bits.xor(bits.shrS(31).and(0x7fffffff)));
}

/** Whether entry (key a, index i) ranks below (key b, index j). */
const below = (a: I32, i: I32, b: I32, j: I32) => a.ltS(b).or(a.eq(b).and(j.ltS(i)));

/** Puts (key, index) at the root of the heap of `size` entries and lets it sink. */
function sink(
  f: Fn,
  keys: Local<I32>,
  indices: Local<I32>,
  size: Local<I32>,
  root: IntLike,
  key: Local<I32>,
  index: Local<I32>,
): void {
  const i = f.local('i32');
  f.set(i, i32(root));
  const child = f.let(i.shl(1).add(1));
  const [k1, i1, k2, i2, sibling] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')];
  const put = (k: I32, x: I32) => {
    f.storeI32(keys.add(i.shl(2)), k);
    f.storeI32(indices.add(i.shl(2)), x);
  };
  f.while(child.ltS(size), () => {
    f.set(k1, loadI32(keys.add(child.shl(2))));
    f.set(i1, loadI32(indices.add(child.shl(2))));
    // Without a branch: which child is lower is a coin toss. A missing sibling is the child itself.
    f.set(sibling, child.add(child.add(1).ltS(size)));
    f.set(k2, loadI32(keys.add(sibling.shl(2))));
    f.set(i2, loadI32(indices.add(sibling.shl(2))));
    f.set(sibling, below(k2, i2, k1, i1));
    f.inc(child, sibling);
    f.set(k1, select(sibling, k2, k1));
    f.set(i1, select(sibling, i2, i1));
    f.if(
      below(k1, i1, key, index),
      () => {
        put(k1, i1);
        f.set(i, child);
        f.set(child, child.shl(1).add(1));
      },
      () => f.set(child, size),
    );
  });
  put(key, index);
}

const topKKernel = defineKernel({
  key: 'topK',
  args: { src: 'i32', values: 'i32', indices: 'i32', n: 'i32', k: 'i32', rows: 'i32', rowsPerChunk: 'i32' },
  chunk(f, a, chunk) {
    const { n, k } = a;
    const row = f.let(chunk.mul(a.rowsPerChunk));
    const rowEnd = f.let(row.add(a.rowsPerChunk));
    f.set(rowEnd, rowEnd.minS(a.rows));
    const [x, keys, ids] = [f.local('i32'), f.local('i32'), f.local('i32')];
    const [i, j, stop, look, size] = [f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32'), f.local('i32')];
    const [key, id] = [f.local('i32'), f.local('i32')];
    const least = f.local('v128');
    f.while(row.ltS(rowEnd), () => {
      f.set(x, a.src.add(row.mul(n).shl(2)));
      f.set(keys, a.values.add(row.mul(k).shl(2)));
      f.set(ids, a.indices.add(row.mul(k).shl(2)));
      f.set(i, 0);
      f.while(i.ltS(k), () => {
        f.storeI32(keys.add(i.shl(2)), orderKey(f, x.add(i.shl(2))));
        f.storeI32(ids.add(i.shl(2)), i);
        f.inc(i, 1);
      });
      f.set(i, k.shrU(1).sub(1));
      f.while(i.geS(0), () => {
        f.set(key, loadI32(keys.add(i.shl(2))));
        f.set(id, loadI32(ids.add(i.shl(2))));
        sink(f, keys, ids, k, i, key, id);
        f.inc(i, -1);
      });
      f.set(least, loadSplat(x.add(loadI32(ids).shl(2))));
      f.set(j, k);
      f.while(j.ltS(n), () => {
        f.set(stop, j.add(8));
        f.set(look, 1);
        f.if(
          stop.leS(n),
          () => {
            const at = f.let(x.add(j.shl(2)));
            // Not "greater than": a NaN must pass too.
            const none = loadV128(at).le(least).and(loadV128(at, 16).le(least));
            f.set(look, none.not().anyTrue());
          },
          () => f.set(stop, n),
        );
        f.if(look, () => {
          f.while(j.ltS(stop), () => {
            f.set(key, orderKey(f, x.add(j.shl(2))));
            f.if(loadI32(keys).ltS(key), () => {
              sink(f, keys, ids, k, 0, key, j);
              f.set(least, loadSplat(x.add(loadI32(ids).shl(2))));
            });
            f.inc(j, 1);
          });
        });
        f.set(j, stop);
      });
      f.set(size, k.sub(1));
      f.while(size.geS(1), () => {
        const last = f.let(size.shl(2));
        f.set(key, loadI32(keys.add(last)));
        f.set(id, loadI32(ids.add(last)));
        f.storeI32(keys.add(last), loadI32(keys));
        f.storeI32(ids.add(last), loadI32(ids));
        sink(f, keys, ids, size, 0, key, id);
        f.inc(size, -1);
      });
      f.set(i, 0);
      f.while(i.ltS(k), () => {
        const at = f.let(i.shl(2));
        f.storeI32(keys.add(at), loadI32(x.add(loadI32(ids.add(at)).shl(2))));
        f.inc(i, 1);
      });
      f.inc(row, 1);
    });
  },
});

/** f32 [..., n] → the k ≤ n largest of each row, f32 [..., k], and their indices, i32 [..., k]. */
export const topKWasm: Lowering<{ readonly k: number }> = (e, [x], [values, indices], { k }) => {
  const n = x!.shape.at(-1)!;
  const rows = x!.shape.slice(0, -1).reduce((p, m) => p * m, 1);
  if (rows === 0 || k === 0) return;
  const rowsPerChunk = Math.max(1, Math.floor((1 << 13) / n));
  const args = { src: x!.buffer, values: values!.buffer, indices: indices!.buffer, n, k, rows, rowsPerChunk };
  e.call(topKKernel, args, Math.ceil(rows / rowsPerChunk));
};
