// What moments keep of a set of rows: their number, mean, and sum of squared deviations from it (M2). Sums of squares
// would cancel. Goes with reduce.wgsl.
//
// Expects: operand x.

struct Sums { n: f32, mean: TypeX, m2: TypeX }

fn start() -> Sums { return Sums(0.0f, TypeX(), TypeX()); }

// Chan, Golub and LeVeque 1979.
fn merge(a: Sums, b: Sums) -> Sums {
  if (a.n == 0.0f) { return b; }
  let n = a.n + b.n;
  let share = b.n / n;
  let d = b.mean - a.mean;
  return Sums(n, fma(d, TypeX(share), a.mean), a.m2 + b.m2 + d * d * (a.n * share));
}
