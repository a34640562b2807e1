// Moments of the rows of x, in groups of eight that registers hold, so that a group's mean is known before its squares.
//
// Expects: batchNorm; p.rows: u32; p.inner: u32, the vectors of a row.

fn element(outer: u32, group: u32, c: u32) -> Sums {
  let first = 8u * group;
  if (first + 8u > p.rows) {
    var sums = start();
    for (var row = first; row < p.rows; row++) {
      sums = merge(sums, Sums(1.0f, loadX(row * p.inner + c), TypeX()));
    }
    return sums;
  }
  let at = first * p.inner + c;
  let base = loadX(at);
  let v1 = loadX(at + p.inner) - base;
  let v2 = loadX(at + 2u * p.inner) - base;
  let v3 = loadX(at + 3u * p.inner) - base;
  let v4 = loadX(at + 4u * p.inner) - base;
  let v5 = loadX(at + 5u * p.inner) - base;
  let v6 = loadX(at + 6u * p.inner) - base;
  let v7 = loadX(at + 7u * p.inner) - base;
  let mean = ((v1 + v2) + (v3 + v4) + (v5 + v6) + v7) * 0.125f;
  let d1 = v1 - mean;
  let d2 = v2 - mean;
  let d3 = v3 - mean;
  let d4 = v4 - mean;
  let d5 = v5 - mean;
  let d6 = v6 - mean;
  let d7 = v7 - mean;
  let m2 = (mean * mean + d1 * d1) + (d2 * d2 + d3 * d3) + (d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7);
  return Sums(8.0f, base + mean, m2);
}
