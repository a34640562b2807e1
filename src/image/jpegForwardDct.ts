/**
 * The 8x8 forward DCT of JPEG in integers: rows, then columns, each with 12 multiplications; and quantisation.
 *
 * Loeffler, Ligtenberg, Moschytz 1989, "Practical fast 1-D DCT algorithms with 11 multiplications", in the fixed point
 * that libjpeg's accurate method uses (jpegDct.ts is the inverse): results are eight times the coefficients, rounded in
 * the same places to the same bits.
 */

import {
  fix0298,
  fix0390,
  fix0541,
  fix0765,
  fix0899,
  fix1175,
  fix1501,
  fix1847,
  fix1961,
  fix2053,
  fix2562,
  fix3072,
} from './jpegDct.ts';

const imul = Math.imul;

/** Transforms the 64 samples at `at` of `plane`, rows `stride` apart, into `block` in natural order, times eight. */
export function forwardDct(plane: Uint8Array, at: number, stride: number, block: Int32Array): void {
  for (let y = 0, i = at; y < 64; y += 8, i += stride) {
    const s0 = plane[i]!;
    const s1 = plane[i + 1]!;
    const s2 = plane[i + 2]!;
    const s3 = plane[i + 3]!;
    const s4 = plane[i + 4]!;
    const s5 = plane[i + 5]!;
    const s6 = plane[i + 6]!;
    const s7 = plane[i + 7]!;
    const o0 = s0 - s7;
    const o1 = s1 - s6;
    const o2 = s2 - s5;
    const o3 = s3 - s4;
    const a0 = s0 + s7 + s3 + s4;
    const a1 = s1 + s6 + s2 + s5;
    const a2 = s1 + s6 - s2 - s5;
    const a3 = s0 + s7 - s3 - s4;
    // the sum alone knows of the level shift by 128
    block[y] = (a0 + a1 - 1024) << 2;
    block[y + 4] = (a0 - a1) << 2;
    const e = imul(a2 + a3, fix0541) + 1024;
    block[y + 2] = (e + imul(a3, fix0765)) >> 11;
    block[y + 6] = (e - imul(a2, fix1847)) >> 11;
    const z = imul(o0 + o1 + o2 + o3, fix1175) + 1024;
    const z1 = imul(o3 + o0, fix0899);
    const z2 = imul(o2 + o1, fix2562);
    const z3 = z - imul(o3 + o1, fix1961);
    const z4 = z - imul(o2 + o0, fix0390);
    block[y + 7] = (imul(o3, fix0298) - z1 + z3) >> 11;
    block[y + 5] = (imul(o2, fix2053) - z2 + z4) >> 11;
    block[y + 3] = (imul(o1, fix3072) - z2 + z3) >> 11;
    block[y + 1] = (imul(o0, fix1501) - z1 + z4) >> 11;
  }
  for (let x = 0; x < 8; x++) {
    const s0 = block[x]!;
    const s1 = block[x + 8]!;
    const s2 = block[x + 16]!;
    const s3 = block[x + 24]!;
    const s4 = block[x + 32]!;
    const s5 = block[x + 40]!;
    const s6 = block[x + 48]!;
    const s7 = block[x + 56]!;
    const o0 = s0 - s7;
    const o1 = s1 - s6;
    const o2 = s2 - s5;
    const o3 = s3 - s4;
    const a0 = s0 + s7 + s3 + s4;
    const a1 = s1 + s6 + s2 + s5;
    const a2 = s1 + s6 - s2 - s5;
    const a3 = s0 + s7 - s3 - s4;
    block[x] = (a0 + a1 + 2) >> 2;
    block[x + 32] = (a0 - a1 + 2) >> 2;
    const e = imul(a2 + a3, fix0541) + 16384;
    block[x + 16] = (e + imul(a3, fix0765)) >> 15;
    block[x + 48] = (e - imul(a2, fix1847)) >> 15;
    const z = imul(o0 + o1 + o2 + o3, fix1175) + 16384;
    const z1 = imul(o3 + o0, fix0899);
    const z2 = imul(o2 + o1, fix2562);
    const z3 = z - imul(o3 + o1, fix1961);
    const z4 = z - imul(o2 + o0, fix0390);
    block[x + 56] = (imul(o3, fix0298) - z1 + z3) >> 15;
    block[x + 40] = (imul(o2, fix2053) - z2 + z4) >> 15;
    block[x + 24] = (imul(o1, fix3072) - z2 + z3) >> 15;
    block[x + 8] = (imul(o0, fix1501) - z1 + z4) >> 15;
  }
}

/** The divisors of a quantisation table, in natural order. */
export interface Quantiser {
  /** Half a divisor, rounded down, and the half that keeps a product with a reciprocal off whole numbers. */
  readonly half: Float64Array;
  readonly reciprocal: Float64Array;
}

/** @param steps 64 quantisation steps of 1 to 255, natural order */
export function createQuantiser(steps: Uint8Array): Quantiser {
  return {
    half: Float64Array.from(steps, (q) => 4 * q + 0.5),
    reciprocal: Float64Array.from(steps, (q) => 1 / (8 * q)),
  };
}

/**
 * Divides what `forwardDct` gave by eight times the steps, rounding halves away from zero, in place. The quotient of
 * whole numbers n and d is that of n + 1/2 and d, which is too far from a whole number for the reciprocal's error.
 */
export function quantise(block: Int32Array, { half, reciprocal }: Quantiser): void {
  for (let i = 0; i < 64; i++) {
    const v = block[i]!;
    const sign = v >> 31;
    const q = ((((v ^ sign) - sign + half[i]!) * reciprocal[i]!) | 0) ^ sign;
    block[i] = q - sign;
  }
}
