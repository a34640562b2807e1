/**
 * Counter-based random numbers: the same bits on every device, in any order of calls.
 *
 * Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3):
 * adds, rotations and xors only. A key is folded from a seed and names, so a stream depends on what it is for (a
 * module path, a step), never on when it is asked.
 */

export type Key = readonly [number, number];

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** The two 32-bit words of counter (c0, c1) under a key, as unsigned numbers. */
export function threefry([k0, k1]: Key, c0: number, c1: number): [number, number] {
  const ks = [k0 | 0, k1 | 0, 0x1bd11bda ^ k0 ^ k1] as const;
  let x0 = (c0 + ks[0]) | 0;
  let x1 = (c1 + ks[1]) | 0;
  for (let round = 0; round < 20; round++) {
    const r = rotations[round % 8]!;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    if (round % 4 === 3) {
      const s = (round + 1) / 4;
      x0 = (x0 + ks[(s % 3) as 0 | 1 | 2]) | 0;
      x1 = (x1 + ks[((s + 1) % 3) as 0 | 1 | 2] + s) | 0;
    }
  }
  return [x0 >>> 0, x1 >>> 0];
}

/** A key derived from another by a number or a name (FNV-1a of its UTF-8 bytes). */
export function fold(key: Key, by: number | string): Key {
  if (typeof by === 'number') return threefry(key, by >>> 0, Math.floor(by / 2 ** 32) >>> 0);
  let h = 0x811c9dc5;
  for (const b of new TextEncoder().encode(by)) h = Math.imul(h ^ b, 0x01000193);
  return threefry(key, h >>> 0, 0x6e616d65);
}

export const keyOf = (seed: number): Key => [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];

/** Uniform in [0, 1): the top 24 bits of word 0 of counter i. */
export const uniformAt = (key: Key, i: number): number => (threefry(key, i, 0)[0] >>> 8) / 2 ** 24;

/** n uniforms in [0, 1) as float32; element i is `uniformAt(key, i)`. */
export function uniform(key: Key, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => uniformAt(key, i));
}

/** n standard normals as float32: Box-Muller on the two words of counter i (cosine branch), computed in f64. */
export function normal(key: Key, n: number): Float32Array {
  const out = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    const [a, b] = threefry(key, i, 0);
    const u = (a + 0.5) / 2 ** 32;
    out[i] = Math.sqrt(-2 * Math.log(u)) * Math.cos((2 * Math.PI * b) / 2 ** 32);
  }
  return out;
}

/** A random permutation of 0..n-1 (Fisher-Yates; swap i uses counter i). */
export function permutation(key: Key, n: number): Int32Array {
  const out = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor((threefry(key, i, 1)[0] / 2 ** 32) * (i + 1));
    const t = out[i]!;
    out[i] = out[j]!;
    out[j] = t;
  }
  return out;
}
