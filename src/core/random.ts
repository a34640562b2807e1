/**
 * Counter-based random numbers: the same bits on every device, in any order of calls.
 *
 * Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3):
 * adds, rotations and xors only. A key is folded from a seed and names, so a stream depends on what it is for (a
 * module path, a step), never on when it is asked.
 */

export type Key = readonly [number, number];

/** Second word of the counter that `firstWord` was last asked for: no array is made for a caller that needs one word. */
let secondWord = 0;

/** The first word of counter (c0, c1) under key (k0, k1), as a signed number; the second is left in `secondWord`. */
function firstWord(k0: number, k1: number, c0: number, c1: number): number {
  let a = k1 | 0;
  let b = 0x1bd11bda ^ k0 ^ k1;
  let c = k0 | 0;
  let x0 = (c0 + c) | 0;
  let x1 = (c1 + a) | 0;
  for (let four = 1; four <= 5; four++) {
    const odd = four & 1;
    let r = odd ? 13 : 17;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    r = odd ? 15 : 29;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    r = odd ? 26 : 16;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    r = odd ? 6 : 24;
    x0 = (x0 + x1) | 0;
    x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    x0 = (x0 + a) | 0;
    x1 = (x1 + b + four) | 0;
    const used = a;
    a = b;
    b = c;
    c = used;
  }
  secondWord = x1;
  return x0;
}

/** The two 32-bit words of counter (c0, c1) under a key, as unsigned numbers. */
export function threefry([k0, k1]: Key, c0: number, c1: number): [number, number] {
  const first = firstWord(k0, k1, c0, c1);
  return [first >>> 0, secondWord >>> 0];
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
export const uniformAt = ([k0, k1]: Key, i: number): number => (firstWord(k0, k1, i, 0) >>> 8) / 2 ** 24;

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

/**
 * A random permutation of 0..n-1 (Fisher-Yates; swap i uses counter i). The places are drawn some thousands ahead of their
 * swaps, which then wait for memory together: a third of the time for the millions of an epoch.
 */
export function permutation([k0, k1]: Key, n: number): Int32Array {
  const out = new Int32Array(n);
  for (let i = 0; i < n; i++) out[i] = i;
  const places = new Int32Array(Math.min(n, 4096));
  for (let top = n - 1; top > 0; top -= places.length) {
    const count = Math.min(places.length, top);
    for (let k = 0; k < count; k++) {
      const i = top - k;
      places[k] = Math.floor(((firstWord(k0, k1, i, 1) >>> 0) / 2 ** 32) * (i + 1));
    }
    for (let k = 0; k < count; k++) {
      const i = top - k;
      const j = places[k]!;
      const t = out[i]!;
      out[i] = out[j]!;
      out[j] = t;
    }
  }
  return out;
}
