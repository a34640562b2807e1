/**
 * exp, log, tanh, sigmoid, sin, cos, acos and pow on f32x4 lanes.
 *
 * The one idea: each function is written once over a *pack*, a few vectors that advance operation by operation, so one
 * text gives the narrow code (one vector) and the pairs that V8 fuses into 256-bit code. Argument reduction after Cody
 * and Waite 1980; the polynomials are minimax fits of our own (Lawson iteration in f64, rounded to f32); pow carries
 * log2 in two floats (Dekker 1971). Bounds in ULP, held by test/native/math.test.ts in relaxed and strict mode:
 * `ulpBounds` below. Subnormal results are rounded, not flushed; the sign of a zero
 * result may be lost.
 */
import { Fn, f32x4, i32x4, type V128 } from './wasm.ts';

/** Vectors that take the same operations, interleaved one by one. */
export type Pack = readonly V128[];

/**
 * Largest error in units in the last place of the f32 result, over the stated domain. `sin` and `cos` hold theirs for
 * |x| ≤ 8192 where the result is at least 2^-10 (nearer to a root the error is at most 2^-33 absolute plus the ULPs);
 * beyond, the error grows with |x|. `pow` holds for every finite result.
 */
export const ulpBounds = { exp: 2, log: 2, tanh: 2, sigmoid: 3, sin: 2, cos: 2, acos: 2, pow: 4 } as const;

/**
 * Where vector code goes, and how it gets its constants. A constant that is written inside a loop costs four
 * instructions each time: `hoisted` puts all of them in locals first.
 */
export class Vec {
  readonly f: Fn;
  private readonly constants: Map<string, V128>;
  private readonly keep: boolean;
  constructor(f: Fn, constants = new Map<string, V128>(), keep = false) {
    this.f = f;
    this.constants = constants;
    this.keep = keep;
  }
  private constant(key: string, make: () => V128): V128 {
    let v = this.constants.get(key);
    if (!v) {
      v = make();
      if (this.keep) this.constants.set(key, v);
    }
    return v;
  }
  /** A number in every lane. */
  c(value: number): V128 {
    return this.constant(`f${Object.is(value, -0) ? '-0' : Math.fround(value)}`, () => f32x4(value));
  }
  /** A bit pattern in every lane. */
  bits(value: number): V128 {
    return this.constant(`i${value | 0}`, () => i32x4(value | 0));
  }
  /** One operation on every vector of the packs, each result in a local. */
  map(g: (...x: V128[]) => V128, ...xs: Pack[]): Pack {
    return xs[0]!.map((_, i) => this.f.let(g(...xs.map((x) => x[i]!))));
  }
  /** Horner's rule, coefficients from the constant up. */
  poly(x: Pack, coefficients: readonly number[]): Pack {
    const n = coefficients.length;
    let y: Pack = x.map(() => this.c(coefficients[n - 1]!));
    for (let i = n - 2; i >= 0; i--) y = this.map((p, t) => this.f.madd(p, t, this.c(coefficients[i]!)), y, x);
    return y;
  }
}

/**
 * A `Vec` whose constants are already in locals of `f`: those that `dry` asks for when run on a throw-away function.
 * Call it before the loop, then emit the same code in the loop.
 */
export function hoisted(f: Fn, dry: (v: Vec) => void): Vec {
  const found = new Map<string, V128>();
  dry(new Vec(new Fn(f.mode, []), found, true));
  return new Vec(f, new Map([...found].map(([key, v]) => [key, f.let(v)])));
}

const signBit = 0x80000000;
/** Adding it to |x| < 2^22 rounds x to the nearest integer, which then stands in the low bits. */
const roundBias = 12582912;
const roundBiasBits = 0x4b400000;

/** p · 2^n for an integer n in about -252..254, in two factors so that it overflows and underflows like one. */
function scale(v: Vec, p: Pack, n: Pack): Pack {
  const half = v.map((k) => k.ishrS(1), n);
  const s1 = v.map((h) => h.iadd(v.bits(127)).ishl(23), half);
  const s2 = v.map((k, h) => k.isub(h).iadd(v.bits(127)).ishl(23), n, half);
  return v.map((y, a, b) => y.mul(a).mul(b), p, s1, s2);
}

/** e^x */
export function exp(v: Vec, x: Pack): Pack {
  const { f } = v;
  // Clamped, so that 2^n stays in range; pseudo-minimum and -maximum let NaN through.
  const t = v.map((a) => a.pmin(v.c(89)).pmax(v.c(-104)), x);
  const biased = v.map((a) => f.madd(a, v.c(Math.LOG2E), v.c(roundBias)), t);
  const n = v.map((b) => b.sub(v.c(roundBias)), biased);
  const r1 = v.map((a, k) => f.nmadd(k, v.c(0.693145751953125), a), t, n);
  const r = v.map((a, k) => f.nmadd(k, v.c(1.428606765330187e-6), a), r1, n);
  const p = v.poly(r, [0.5, 0.16666512, 0.041666187, 0.008369599, 0.0013951719]);
  const r2 = v.map((a) => a.mul(a), r);
  const y = v.map((q, s, a) => f.madd(q, s, a).add(v.c(1)), p, r2, r);
  return scale(
    v,
    y,
    v.map((b) => b.isub(v.bits(roundBiasBits)), biased),
  );
}

/** Mantissa in [√½, √2) and exponent (as floats) of positive finite x, subnormals included. */
function split(v: Vec, x: Pack): { m: Pack; e: Pack } {
  const small = v.map((a) => a.lt(v.c(2 ** -126)), x);
  const normal = v.map((a, s) => a.mul(v.c(2 ** 24)).select(a, s), x, small);
  const offset = v.map((a) => a.isub(v.bits(0x3f3504f3)), normal);
  const m = v.map((o) => o.and(v.bits(0x7fffff)).iadd(v.bits(0x3f3504f3)), offset);
  const e = v.map((o, s) => o.ishrS(23).toFloat().sub(v.c(24).and(s)), offset, small);
  return { m, e };
}

/** Natural logarithm; -Infinity at 0, NaN below. */
export function log(v: Vec, x: Pack): Pack {
  const { f } = v;
  const { m, e } = split(v, x);
  const g = v.map((a) => a.sub(v.c(1)), m);
  const p = v.poly(
    g,
    [0.33333313, -0.2500001, 0.20002119, -0.16667996, 0.14219552, -0.12405589, 0.11888162, -0.11675652, 0.06746642],
  );
  const g2 = v.map((a) => a.mul(a), g);
  const tail = v.map((q, a, s) => q.mul(a).mul(s), p, g, g2);
  const low = v.map((t, k) => f.madd(k, v.c(1.428606765330187e-6), t), tail, e);
  const y1 = v.map((t, s) => f.nmadd(s, v.c(0.5), t), low, g2);
  const y = v.map((t, a, k) => f.madd(k, v.c(0.693145751953125), t.add(a)), y1, g, e);
  // Infinity and NaN stay what they are; zero and negatives are chosen last.
  const finite = v.map((r, a) => r.select(a, a.lt(v.c(Number.POSITIVE_INFINITY))), y, x);
  const edge = v.map((a) => v.c(Number.NEGATIVE_INFINITY).select(v.c(Number.NaN), a.eq(v.c(0))), x);
  return v.map((r, b, a) => b.select(r, a.le(v.c(0))), finite, edge, x);
}

/** 1 / (1 + e^-x) */
export function sigmoid(v: Vec, x: Pack): Pack {
  const e = exp(
    v,
    v.map((a) => a.abs().neg(), x),
  );
  const top = v.map((a, b) => b.select(v.c(1), a.lt(v.c(0))), x, e);
  return v.map((t, b) => t.div(b.add(v.c(1))), top, e);
}

/** Hyperbolic tangent. */
export function tanh(v: Vec, x: Pack): Pack {
  const { f } = v;
  const a = v.map((t) => t.abs(), x);
  const e = exp(
    v,
    v.map((t) => t.add(t), a),
  );
  const large = v.map((b) => v.c(1).sub(v.c(2).div(b.add(v.c(1)))), e);
  const z = v.map((t) => t.mul(t), x);
  const p = v.poly(z, [-0.33333284, 0.13331492, -0.053743534, 0.020650716, -0.005717196]);
  const small = v.map((q, s, t) => f.madd(q.mul(s), t, t), p, z, x);
  const signed = v.map((b, t) => b.or(t.and(v.bits(signBit))), large, x);
  return v.map((s, b, t) => s.select(b, t.lt(v.c(0.625))), small, signed, a);
}

function sinCos(v: Vec, x: Pack, quarter: number): Pack {
  const { f } = v;
  const n = v.map((a) => a.mul(v.c(2 / Math.PI)).nearest(), x);
  // π/2 in three parts; the products with the first two are exact for |n| < 2^13.
  const r1 = v.map((a, k) => f.nmadd(k, v.c(1.5703125), a), x, n);
  const r2 = v.map((a, k) => f.nmadd(k, v.c(0.0004837512969970703), a), r1, n);
  const r = v.map((a, k) => f.nmadd(k, v.c(7.549790126404332e-8), a), r2, n);
  const z = v.map((a) => a.mul(a), r);
  const ps = v.poly(z, [-0.16666654, 0.008332131, -0.0001951084]);
  const s = v.map((q, t, a) => f.madd(q.mul(t), a, a), ps, z, r);
  const pc = v.poly(z, [0.041666646, -0.0013887306, 2.4431203e-5]);
  const c1 = v.map((q, t) => f.madd(q, t, v.c(-0.5)), pc, z);
  const c = v.map((q, t) => f.madd(q, t, v.c(1)), c1, z);
  const k = v.map((a) => a.add(v.c(roundBias)).iadd(v.bits(quarter)), n);
  const odd = v.map((q) => q.ishl(31).ishrS(31), k);
  const flip = v.map((q) => q.ishrU(1).ishl(31), k);
  return v.map((a, b, m, g) => b.select(a, m).xor(g), s, c, odd, flip);
}

/** Sine of radians, for |x| ≤ 8192. */
export const sin = (v: Vec, x: Pack): Pack => sinCos(v, x, 0);
/** Cosine of radians, for |x| ≤ 8192. */
export const cos = (v: Vec, x: Pack): Pack => sinCos(v, x, 1);

/** Arc cosine in radians; NaN outside [-1, 1]. */
export function acos(v: Vec, x: Pack): Pack {
  const a = v.map((t) => t.abs(), x);
  const outer = v.map((t) => t.gt(v.c(0.5)), a);
  // asin(√z) for z = (1 - |x|)/2 on the outside, asin(x) inside.
  const z = v.map((t, o) => v.c(1).sub(t).mul(v.c(0.5)).select(t.mul(t), o), a, outer);
  const s = v.map((t, q, o) => q.sqrt().select(t, o), x, z, outer);
  const p = v.poly(z, [0.16666754, 0.074952416, 0.0454771, 0.024147604, 0.042218562]);
  const tail = v.map((q, t, b) => q.mul(t).mul(b), p, z, s);
  // π and π/2 in two floats each.
  const inner = v.map((b, t) => v.c(1.5707963705062866).sub(b.sub(v.c(-4.371138828673793e-8).sub(t))), s, tail);
  const near = v.map((b, t) => b.add(t).mul(v.c(2)), s, tail);
  const far = v.map((q) => v.c(3.1415927410125732).sub(q.add(v.c(8.742277657347586e-8))), near);
  const side = v.map((t, q, w) => w.select(q, t.lt(v.c(0))), x, near, far);
  return v.map((i, w, o) => w.select(i, o), inner, side, outer);
}

/** The top 12 bits of the significand, so that products of two such parts are exact. */
const head = (v: Vec, x: Pack) => v.map((a) => a.and(v.bits(0xfffff000)), x);

/** a·b as rounded product and its error (Dekker 1971). The error is only right while nothing overflows. */
function twoProduct(v: Vec, a: Pack, b: Pack): { p: Pack; e: Pack } {
  const ah = head(v, a);
  const al = v.map((t, h) => t.sub(h), a, ah);
  const bh = head(v, b);
  const bl = v.map((t, h) => t.sub(h), b, bh);
  const p = v.map((s, t) => s.mul(t), a, b);
  const e1 = v.map((s, t, q) => s.mul(t).sub(q), ah, bh, p);
  const e2 = v.map((q, s, t, g, h) => q.add(s.mul(t)).add(g.mul(h)), e1, ah, bl, al, bh);
  return { p, e: v.map((q, s, t) => q.add(s.mul(t)), e2, al, bl) };
}

/** x^y with the edge cases of `Math.pow`, except that pow(-0, y) has the sign of an odd y at most. */
export function pow(v: Vec, x: Pack, y: Pack): Pack {
  const a = v.map((t) => t.abs(), x);
  const { m, e } = split(v, a);
  // log m = 2·atanh(s), s = (m - 1)/(m + 1), with s in two floats.
  const g = v.map((t) => t.sub(v.c(1)), m);
  const d = v.map((t) => t.add(v.c(1)), m);
  const dLow = v.map((t, q) => t.sub(q.sub(v.c(1))), m, d);
  const s = v.map((p, q) => p.div(q), g, d);
  const sd = twoProduct(v, s, d);
  const sLow = v.map((t, p, q, w, r, u) => t.sub(p).sub(q).sub(w.mul(r)).div(u), g, sd.p, sd.e, s, dLow, d);
  const z = v.map((t) => t.mul(t), s);
  const q = v.poly(z, [0.6666666, 0.40000337, 0.2853716, 0.23585172]);
  const rest = v.map((p, t, w, l) => p.mul(t).mul(w).add(l.add(l)), q, z, s, sLow);
  const twice = v.map((t) => t.add(t), s);
  const h = v.map((t, r) => t.add(r), twice, rest);
  const l = v.map((t, r, w) => r.sub(w.sub(t)), twice, rest, h);
  // log2 |x| = e + log m · log2(e), in two floats.
  const product = twoProduct(
    v,
    h,
    h.map(() => v.c(1.4426950216293335)),
  );
  const low = v.map(
    (p, t, w) => p.add(t.mul(v.c(1.925963033500011e-8))).add(w.mul(v.c(1.4426950216293335))),
    product.e,
    h,
    l,
  );
  const high = v.map((k, p) => k.add(p), e, product.p);
  const logLow = v.map((w, k, p, t) => p.sub(w.sub(k)).add(t), high, e, product.p, low);
  const logHigh1 = v.map((w, t) => v.c(Number.NEGATIVE_INFINITY).select(w, t.eq(v.c(0))), high, a);
  const logHigh = v.map((w, t) => w.select(t, t.lt(v.c(Number.POSITIVE_INFINITY))), logHigh1, a);
  const power = twoProduct(v, logHigh, y);
  const bounded = v.map((p) => p.abs().le(v.c(160)), power.p);
  const lowPart = v.map((r, t, b, ok) => r.add(t.mul(b)).and(ok), power.e, logLow, y, bounded);
  const t = v.map((p) => p.pmin(v.c(160)).pmax(v.c(-160)), power.p);
  const biased = v.map((p) => p.add(v.c(roundBias)), t);
  const r = v.map((p, b, w) => p.sub(b.sub(v.c(roundBias))).add(w), t, biased, lowPart);
  const two = v.poly(r, [1, Math.LN2, 0.2402265, 0.055503245, 0.009617999, 0.0013401613, 0.00015477739]);
  const size = scale(
    v,
    two,
    v.map((b) => b.isub(v.bits(roundBiasBits)), biased),
  );
  // A negative base: minus for odd exponents, NaN for exponents that are no integers.
  const halfY = v.map((b) => b.mul(v.c(0.5)), y);
  const oddY = v.map((b, w) => w.ne(w.trunc()).and(b.eq(b.trunc())), y, halfY);
  const signed = v.map((w, b, o) => w.or(b.and(o).and(v.bits(signBit))), size, x, oddY);
  const bad = v.map((b, w) => b.lt(v.c(0)).and(w.ne(w.trunc())), x, y);
  const valid = v.map((w, b) => v.c(Number.NaN).select(w, b), signed, bad);
  return v.map((w, b) => v.c(1).select(w, b.eq(v.c(0))), valid, y);
}
