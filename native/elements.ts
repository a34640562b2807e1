/**
 * Elements of any dtype as f32 lanes: 8 as a pair of adjacent vectors, or 1 in lane 0.
 *
 * The one idea: arithmetic is always f32. Numbers are converted on the way in and out; truth values are lane masks in
 * registers and bytes 0 or 1 in memory.
 */
import { bytesOf, type DType } from '../src/core/dtype.ts';
import type { Pack } from './math.ts';
import {
  type Fn,
  f32x4,
  type I32,
  i32,
  i32x4,
  type Local,
  loadSplat,
  loadU8,
  loadV128,
  loadWord,
  type V128,
} from './wasm.ts';

/** log2 of an element's bytes. */
export const byteShift = (dtype: DType): 0 | 2 => (bytesOf(dtype) === 4 ? 2 : 0);

/**
 * Loads 8 elements (a pair of vectors) or 1 (in every lane of one vector) into fresh locals. The 8 may start `ahead`
 * elements after the address.
 */
export function loadElements(f: Fn, dtype: DType, addr: Local<I32>, width: 8 | 1, ahead = 0): Pack {
  if (width === 1) {
    switch (dtype) {
      case 'f32':
        return [f.let(loadSplat(addr))];
      case 'i32':
        return [f.let(loadSplat(addr).toFloat())];
      case 'u8':
        return [f.let(loadU8(addr).toF32().splat())];
      case 'bool':
        return [f.let(i32(0).sub(loadU8(addr).ne(0)).splat())];
    }
  }
  if (dtype === 'f32' || dtype === 'i32') {
    const raw = [f.let(loadV128(addr, 4 * ahead)), f.let(loadV128(addr, 4 * ahead + 16))];
    return dtype === 'f32' ? raw : raw.map((x) => f.let(x.toFloat()));
  }
  const words = [loadWord(addr, ahead), loadWord(addr, ahead + 4)].map((x) => f.let(x.extendLowU8().extendLowU16()));
  return words.map((x) => f.let(dtype === 'u8' ? x.toFloat() : x.igtS(i32x4(0))));
}

/** The low bytes of 8 lanes, in order, in the first 8 bytes. */
const packBytes = (lo: V128, hi: V128) => lo.shuffle(hi, [0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0]);

/** Stores the 8 lanes of a pair, or lane 0. A one-vector pack in a wide store holds the same vector twice. */
export function storeElements(f: Fn, dtype: DType, addr: Local<I32>, [lo, hi]: Pack, width: 8 | 1): void {
  const convert = (x: V128): V128 => {
    switch (dtype) {
      case 'f32':
        return x;
      case 'i32':
        return x.toInt();
      case 'u8':
        return x.max(f32x4(0)).min(f32x4(255)).toInt();
      case 'bool':
        return x.and(i32x4(1));
    }
  };
  const a = convert(lo!);
  if (width === 1) {
    if (dtype === 'f32') f.storeF32(addr, a.lane(0));
    else if (dtype === 'i32') f.storeI32(addr, a.ilane(0));
    else f.storeU8(addr, a.ilane(0));
    return;
  }
  const b = convert(hi ?? lo!);
  if (dtype === 'f32' || dtype === 'i32') {
    f.storeV128(addr, a);
    f.storeV128(addr, b, 16);
    return;
  }
  const bytes = f.let(packBytes(a, b));
  f.storeI32(addr, bytes.ilane(0));
  f.storeI32(addr, bytes.ilane(1), 4);
}
