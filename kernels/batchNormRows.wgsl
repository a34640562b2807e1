// Moments of the rows of x, in groups of eight that registers hold, so that a group's mean is known before its squares.
//
// Expects: batchNorm; p.rows: u32; p.inner: u32, the vectors of a row.

fn element(outer: u32, group: u32, c: u32) -> Sums {
  let firstRow = 8u * group;
  if (firstRow + 8u > p.rows) {
    var sums = start();
    for (var row = firstRow; row < p.rows; row++) {
      let v = loadX(row * p.inner + c);
      sums = merge(sums, Sums(1.0f, v, v - loadX(c), TypeX()));
    }
    return sums;
  }
  let at = firstRow * p.inner + c;
  let x0 = loadX(at);
  let x1 = loadX(at + p.inner);
  let x2 = loadX(at + 2u * p.inner);
  let x3 = loadX(at + 3u * p.inner);
  let x4 = loadX(at + 4u * p.inner);
  let x5 = loadX(at + 5u * p.inner);
  let x6 = loadX(at + 6u * p.inner);
  let x7 = loadX(at + 7u * p.inner);
  let v1 = x1 - x0;
  let v2 = x2 - x0;
  let v3 = x3 - x0;
  let v4 = x4 - x0;
  let v5 = x5 - x0;
  let v6 = x6 - x0;
  let v7 = x7 - x0;
  let mean = ((v1 + v2) + (v3 + v4) + (v5 + v6) + v7) * 0.125f;
  let d1 = v1 - mean;
  let d2 = v2 - mean;
  let d3 = v3 - mean;
  let d4 = v4 - mean;
  let d5 = v5 - mean;
  let d6 = v6 - mean;
  let d7 = v7 - mean;
  let m2 = (mean * mean + d1 * d1) + (d2 * d2 + d3 * d3) + (d4 * d4 + d5 * d5) + (d6 * d6 + d7 * d7);
  let sum = ((x0 + x1) + (x2 + x3)) + ((x4 + x5) + (x6 + x7));
  return Sums(8.0f, sum, (x0 - loadX(c)) + mean, m2);
}
