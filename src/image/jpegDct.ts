/**
 * The 8x8 inverse DCT of JPEG in integers: columns, then rows, each with 12 multiplications.
 *
 * Loeffler, Ligtenberg, Moschytz 1989, "Practical fast 1-D DCT algorithms with 11 multiplications", in the 13-bit
 * fixed-point arithmetic (two extra bits between the passes) that libjpeg's accurate method uses: same constants, same
 * roundings, same bits.
 */

/** Of the rotations, times 2^13; the forward transform has the same. */
export const fix0298 = 2446;
export const fix0390 = 3196;
export const fix0541 = 4433;
export const fix0765 = 6270;
export const fix0899 = 7373;
export const fix1175 = 9633;
export const fix1501 = 12299;
export const fix1847 = 15137;
export const fix1961 = 16069;
export const fix2053 = 16819;
export const fix2562 = 20995;
export const fix3072 = 25172;

const work = new Int32Array(64);
const imul = Math.imul;

/** Dequantises the block at `at` of `c` and writes its 64 samples at `to` of `plane`, rows `stride` apart. */
export function inverseDct(
  c: Int16Array,
  at: number,
  quant: Uint16Array,
  plane: Uint8Array,
  to: number,
  stride: number,
): void {
  for (let pass = 0; pass < 2; pass++) {
    for (let line = 0; line < 8; line++) {
      let v0: number;
      let v1: number;
      let v2: number;
      let v3: number;
      let v4: number;
      let v5: number;
      let v6: number;
      let v7: number;
      if (pass === 0) {
        const i = at + line;
        v1 = c[i + 8]!;
        v2 = c[i + 16]!;
        v3 = c[i + 24]!;
        v4 = c[i + 32]!;
        v5 = c[i + 40]!;
        v6 = c[i + 48]!;
        v7 = c[i + 56]!;
        v0 = imul(c[i]!, quant[line]!);
        if ((v1 | v2 | v3 | v4 | v5 | v6 | v7) === 0) {
          v0 <<= 2;
          for (let j = 0; j < 64; j += 8) work[line + j] = v0;
          continue;
        }
        v1 = imul(v1, quant[line + 8]!);
        v2 = imul(v2, quant[line + 16]!);
        v3 = imul(v3, quant[line + 24]!);
        v4 = imul(v4, quant[line + 32]!);
        v5 = imul(v5, quant[line + 40]!);
        v6 = imul(v6, quant[line + 48]!);
        v7 = imul(v7, quant[line + 56]!);
      } else {
        const i = line * 8;
        v0 = work[i]!;
        v1 = work[i + 1]!;
        v2 = work[i + 2]!;
        v3 = work[i + 3]!;
        v4 = work[i + 4]!;
        v5 = work[i + 5]!;
        v6 = work[i + 6]!;
        v7 = work[i + 7]!;
      }
      // even part
      const z1 = imul(v2 + v6, fix0541);
      const e2 = z1 - imul(v6, fix1847);
      const e3 = z1 + imul(v2, fix0765);
      const e0 = (v0 + v4) << 13;
      const e1 = (v0 - v4) << 13;
      const a0 = e0 + e3;
      const a3 = e0 - e3;
      const a1 = e1 + e2;
      const a2 = e1 - e2;
      // odd part
      const o5 = imul(v7 + v3 + v5 + v1, fix1175);
      const o1 = -imul(v7 + v1, fix0899);
      const o2 = -imul(v5 + v3, fix2562);
      const o3 = o5 - imul(v7 + v3, fix1961);
      const o4 = o5 - imul(v5 + v1, fix0390);
      const b0 = imul(v7, fix0298) + o1 + o3;
      const b1 = imul(v5, fix2053) + o2 + o4;
      const b2 = imul(v3, fix3072) + o2 + o3;
      const b3 = imul(v1, fix1501) + o1 + o4;
      if (pass === 0) {
        work[line] = (a0 + b3 + 1024) >> 11;
        work[line + 56] = (a0 - b3 + 1024) >> 11;
        work[line + 8] = (a1 + b2 + 1024) >> 11;
        work[line + 48] = (a1 - b2 + 1024) >> 11;
        work[line + 16] = (a2 + b1 + 1024) >> 11;
        work[line + 40] = (a2 - b1 + 1024) >> 11;
        work[line + 24] = (a3 + b0 + 1024) >> 11;
        work[line + 32] = (a3 - b0 + 1024) >> 11;
      } else {
        const o = to + line * stride;
        plane[o] = sample(a0 + b3);
        plane[o + 7] = sample(a0 - b3);
        plane[o + 1] = sample(a1 + b2);
        plane[o + 6] = sample(a1 - b2);
        plane[o + 2] = sample(a2 + b1);
        plane[o + 5] = sample(a2 - b1);
        plane[o + 3] = sample(a3 + b0);
        plane[o + 4] = sample(a3 - b0);
      }
    }
  }
}

/** Rounds away 18 fraction bits, adds the level shift, clamps. */
function sample(x: number): number {
  const s = ((x + 131072) >> 18) + 128;
  return s < 0 ? 0 : Math.min(s, 255);
}
