// exp, log, tanh, sigmoid, sin, cos, acos and pow of float32, for where WGSL's own may err by far more than a few units in
// the last place. The formulas and the bounds are those of native/math.ts, held by test/kernels/math.test.ts; here subnormal
// numbers may count as zero. NaN is told by its bits, since an implementation may take it that there is none.

fn mathIsNan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
// A float by its bits. It hangs on x, for WGSL refuses constants that are not finite.
fn mathFloat(bits: u32, x: f32) -> f32 { return bitcast<f32>(bits | (bitcast<u32>(x) & 0u)); }
// y · 2^n in two factors, so that it overflows and underflows like one.
fn mathScale(y: f32, n: i32) -> f32 {
  let half = n >> 1u;
  return y * bitcast<f32>((half + 127) << 23u) * bitcast<f32>((n - half + 127) << 23u);
}

fn mathExp(x: f32) -> f32 {
  let t = clamp(x, -104.0f, 89.0f);
  let n = round(t * 1.442695f);
  // ln 2 in two parts; the product with the first is exact.
  let r = fma(n, -1.4286068e-6f, fma(n, -0.69314575f, t));
  let q = fma(fma(fma(fma(0.0013951719f, r, 0.008369599f), r, 0.041666187f), r, 0.16666512f), r, 0.5f);
  return select(mathScale(fma(q, r * r, r) + 1.0f, i32(n)), x, mathIsNan(x));
}

// Mantissa in [√½, √2) and exponent of a positive finite number.
struct MathParts { m: f32, e: f32 }
fn mathSplit(x: f32) -> MathParts {
  let small = x < 0x1p-126f;
  let offset = bitcast<u32>(select(x, x * 16777216.0f, small)) - 0x3f3504f3u;
  let e = f32(bitcast<i32>(offset) >> 23u);
  return MathParts(bitcast<f32>((offset & 0x7fffffu) + 0x3f3504f3u), select(e, e - 24.0f, small));
}

fn mathLog(x: f32) -> f32 {
  let parts = mathSplit(x);
  let g = parts.m - 1.0f;
  var q = fma(fma(fma(0.06746642f, g, -0.11675652f), g, 0.11888162f), g, -0.12405589f);
  q = fma(fma(fma(fma(fma(q, g, 0.14219552f), g, -0.16667996f), g, 0.20002119f), g, -0.2500001f), g, 0.33333313f);
  let square = g * g;
  let low = fma(square, -0.5f, fma(parts.e, 1.4286068e-6f, q * g * square));
  let y = fma(parts.e, 0.69314575f, low + g);
  // Infinity and NaN stay what they are.
  let whole = select(x, y, (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u);
  return select(whole, mathFloat(select(0x7fc00000u, 0xff800000u, x == 0.0f), x), x <= 0.0f);
}

fn mathSigmoid(x: f32) -> f32 {
  let e = mathExp(-abs(x));
  return select(1.0f, e, x < 0.0f) / (1.0f + e);
}

fn mathTanh(x: f32) -> f32 {
  let a = abs(x);
  let large = 1.0f - 2.0f / (mathExp(a + a) + 1.0f);
  let z = x * x;
  let q = fma(fma(fma(fma(-0.005717196f, z, 0.020650716f), z, -0.053743534f), z, 0.13331492f), z, -0.33333284f);
  let signed = bitcast<f32>(bitcast<u32>(large) | (bitcast<u32>(x) & 0x80000000u));
  return select(signed, fma(q * z, x, x), a < 0.625f);
}

// The sine of x, `quarter` quarter turns on.
fn mathTurn(x: f32, quarter: i32) -> f32 {
  let n = round(x * 0.63661975f);
  // π/2 in three parts; the products with the first two are exact for |n| < 2^13.
  let r = fma(n, -7.54979e-8f, fma(n, -0.000483751297f, fma(n, -1.5703125f, x)));
  let z = r * r;
  let s = fma(fma(fma(-0.0001951084f, z, 0.008332131f), z, -0.16666654f) * z, r, r);
  let c = fma(fma(fma(fma(2.4431203e-5f, z, -0.0013887306f), z, 0.041666646f), z, -0.5f), z, 1.0f);
  let k = i32(n) + quarter;
  let y = select(s, c, (k & 1) == 1);
  return select(y, -y, (k & 2) == 2);
}
fn mathSin(x: f32) -> f32 { return mathTurn(x, 0); }
fn mathCos(x: f32) -> f32 { return mathTurn(x, 1); }

fn mathAcos(x: f32) -> f32 {
  let a = abs(x);
  let outer = a > 0.5f;
  // asin(√z) for z = (1 - |x|)/2 on the outside, asin(x) inside.
  let z = select(x * x, (1.0f - a) * 0.5f, outer);
  let s = select(x, sqrt(z), outer);
  let q = fma(fma(fma(fma(0.042218562f, z, 0.024147604f), z, 0.0454771f), z, 0.074952416f), z, 0.16666754f);
  let tail = q * z * s;
  // π and π/2 in two floats each.
  let inner = 1.5707964f - (s - (-4.371139e-8f - tail));
  let near = (s + tail) * 2.0f;
  return select(inner, select(near, 3.1415927f - (near + 8.742278e-8f), x < 0.0f), outer);
}

// a·b as rounded product and its error (Dekker 1971), by halves of the significands.
fn mathProduct(a: f32, b: f32) -> vec2<f32> {
  let ah = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
  let bh = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
  let al = a - ah;
  let bl = b - bh;
  let product = a * b;
  return vec2<f32>(product, ((ah * bh - product) + ah * bl + al * bh) + al * bl);
}

fn mathPow(x: f32, y: f32) -> f32 {
  let a = abs(x);
  let parts = mathSplit(a);
  // log m = 2·atanh(s), s = (m - 1)/(m + 1), with s in two floats. m + 1 is head + 1 and a rest, both exact: a compiler would
  // take (m + 1) - 1 for m.
  let g = parts.m - 1.0f;
  let d = parts.m + 1.0f;
  let s = g / d;
  let head = bitcast<f32>(bitcast<u32>(parts.m) & 0xfffff000u);
  let sd = mathProduct(s, head + 1.0f);
  let sLow = (g - sd.x - sd.y - s * (parts.m - head)) / d;
  let z = s * s;
  let q = fma(fma(fma(0.23585172f, z, 0.2853716f), z, 0.40000337f), z, 0.6666666f);
  let rest = q * z * s + (sLow + sLow);
  let twice = s + s;
  let h = twice + rest;
  let l = rest - (h - twice);
  // log2 |x| = e + log m · log2(e), in two floats.
  let inTwos = mathProduct(h, 1.442695f);
  let low = inTwos.y + h * 1.925963e-8f + l * 1.442695f;
  let sum = parts.e + inTwos.x;
  let logLow = inTwos.x - (sum - parts.e) + low;
  let finite = select(sum, mathFloat(0xff800000u, x), a == 0.0f);
  let logHigh = select(a, finite, (bitcast<u32>(a)) < 0x7f800000u);
  let power = mathProduct(logHigh, y);
  let t = clamp(power.x, -160.0f, 160.0f);
  let n = round(t);
  let r = t - n + select(0.0f, power.y + logLow * y, abs(power.x) <= 160.0f);
  var two = fma(fma(fma(0.00015477739f, r, 0.0013401613f), r, 0.009617999f), r, 0.055503245f);
  two = fma(fma(fma(two, r, 0.2402265f), r, 0.6931472f), r, 1.0f);
  // A negative base: minus for odd exponents, NaN for exponents that are no integers.
  let whole = y == trunc(y);
  let half = 0.5f * y;
  let minus = select(0u, bitcast<u32>(x) & 0x80000000u, whole && half != trunc(half));
  let size = bitcast<f32>(bitcast<u32>(mathScale(two, i32(n))) | minus);
  let valid = select(size, mathFloat(0x7fc00000u, x), mathIsNan(power.x) || (x < 0.0f && !whole));
  return select(valid, 1.0f, y == 0.0f);
}
