// Resizes images and its transpose. The small integers behind a place are divided exactly, so that forward and gradient
// agree on who touches whom: output o lies at max(0, o·scale + shift) / unit of the input.
//
// Expects: for rows and columns (h, w): p.hIn, p.hOut, p.hScale: u32, p.hShift: i32, p.hUnit: u32; p.channels: u32
//   (vectors where the operands have them); const NEAREST, GRADIENT: bool. x is the image, or the gradient of the output.

struct Axis { size: u32, count: u32, scale: u32, shift: i32, unit: u32 }
// The two inputs of an output and the weight of the second.
struct Source { low: u32, high: u32, weight: f32 }

fn rows() -> Axis { return Axis(p.hIn, p.hOut, p.hScale, p.hShift, p.hUnit); }
fn columns() -> Axis { return Axis(p.wIn, p.wOut, p.wScale, p.wShift, p.wUnit); }

fn sourceOf(a: Axis, o: u32) -> Source {
  let place = u32(max(0, i32(o * a.scale) + a.shift));
  let low = place / a.unit;
  if (NEAREST) { return Source(low, low, 0.0f); }
  return Source(low, min(low + 1u, a.size - 1u), f32(place % a.unit) / f32(a.unit));
}
// The first output whose low input is at least `low`.
fn firstFrom(a: Axis, low: i32) -> u32 {
  if (low <= 0) { return 0u; }
  if (u32(low) >= a.size) { return a.count; }
  let least = low * i32(a.unit) - a.shift;
  return min(a.count, (u32(max(0, least)) + a.scale - 1u) / a.scale);
}
// What output o takes of input `at`.
fn weightOf(a: Axis, o: u32, at: u32) -> f32 {
  let s = sourceOf(a, o);
  return select(0.0f, 1.0f - s.weight, s.low == at) + select(0.0f, s.weight, s.high == at);
}

fn resized(image: u32, row: u32, column: u32, channel: u32) -> TypeX {
  let v = sourceOf(rows(), row);
  let h = sourceOf(columns(), column);
  let top = (image * p.hIn + v.low) * p.wIn;
  let left = loadX((top + h.low) * p.channels + channel);
  if (NEAREST) { return left; }
  let bottom = (image * p.hIn + v.high) * p.wIn;
  let up = 1.0f - v.weight;
  let back = 1.0f - h.weight;
  return up * back * left
    + up * h.weight * loadX((top + h.high) * p.channels + channel)
    + v.weight * back * loadX((bottom + h.low) * p.channels + channel)
    + v.weight * h.weight * loadX((bottom + h.high) * p.channels + channel);
}

fn gathered(image: u32, row: u32, column: u32, channel: u32) -> TypeX {
  let down = rows();
  let across = columns();
  let end = firstFrom(down, i32(row) + 1);
  let last = firstFrom(across, i32(column) + 1);
  // Where there is no high input, an output touches its low one alone.
  let reach = select(1, 0, NEAREST);
  var sum: TypeX;
  for (var i = firstFrom(down, i32(row) - reach); i < end; i++) {
    let weight = weightOf(down, i, row);
    for (var j = firstFrom(across, i32(column) - reach); j < last; j++) {
      let at = ((image * p.hOut + i) * p.wOut + j) * p.channels + channel;
      sum += weight * weightOf(across, j, column) * loadX(at);
    }
  }
  return sum;
}

fn make(i: u32) {
  let channel = i % p.channels;
  let pixel = i / p.channels;
  if (GRADIENT) {
    let row = pixel / p.wIn;
    storeY(i, gathered(row / p.hIn, row % p.hIn, pixel % p.wIn, channel));
  } else {
    let row = pixel / p.wOut;
    storeY(i, resized(row / p.hOut, row % p.hOut, pixel % p.wOut, channel));
  }
}
