// What moments keep of a set of rows: their number and sum, their mean less the first row of x, and the sum of squared
// deviations from their mean (M2). Sums of squares would cancel, and so would differences of means that share a large
// offset; the sum gives the mean without the rounding of the shift. Goes with reduce.wgsl.
//
// Expects: operand x, whose first p.inner vectors are the first row.

struct Sums { n: f32, sum: TypeX, mean: TypeX, m2: TypeX }

fn start() -> Sums { return Sums(0.0f, TypeX(), TypeX(), TypeX()); }

// Chan, Golub and LeVeque 1979.
fn merge(a: Sums, b: Sums) -> Sums {
  if (a.n == 0.0f) { return b; }
  let n = a.n + b.n;
  let share = b.n / n;
  let d = b.mean - a.mean;
  return Sums(n, a.sum + b.sum, a.mean + d * share, a.m2 + b.m2 + d * d * (a.n * share));
}
