// Tiles of one pixel for kernels of any size: loops over the taps whose input lies inside the image.
//
// Expects: depthwisePixels; const GRADIENT: bool (of the input; else the forward pass); p.outRows, p.outColumns and, for
//   rows and columns, kernel, stride, dilation: u32 and before: i32 (zeros before the image); operand w.

struct Taps {
  first: u32,
  end: u32,
  step: u32,
  // Input of the first tap, and the way from one to the next.
  place: i32,
  advance: i32,
}

fn gcd(a: u32, b: u32) -> u32 {
  var x = a;
  var y = b;
  while (y > 0u) {
    let rest = x % y;
    x = y;
    y = rest;
  }
  return x;
}

// Taps that output `o` meets inputs 0 to `inputs` − 1 through.
fn tapsOf(o: u32, inputs: u32, kernel: u32, stride: u32, dilation: u32, before: i32) -> Taps {
  if (GRADIENT) {
    // Tap t meets (far − t·dilation) / stride, where that is a whole number.
    let far = i32(o) + before;
    let over = max(0, far - i32((inputs - 1u) * stride));
    var first = (u32(over) + dilation - 1u) / dilation;
    let end = min(kernel, select(u32(far) / dilation + 1u, 0u, far < 0));
    while (first < end && (u32(far) - first * dilation) % stride > 0u) { first++; }
    let step = stride / gcd(stride, dilation);
    return Taps(first, end, step, (far - i32(first * dilation)) / i32(stride), -i32(step * dilation / stride));
  }
  let start = i32(o * stride) - before;
  let first = u32(max(0, -start) + i32(dilation) - 1) / dilation;
  let end = min(kernel, u32(max(0, i32(inputs) - start) + i32(dilation) - 1) / dilation);
  return Taps(first, end, 1u, start + i32(first * dilation), i32(dilation));
}

fn makeTile(image: u32, row: u32, column: u32, c: u32) {
  let down = tapsOf(row, p.inRows, p.kernelRows, p.strideRows, p.dilationRows, p.beforeRows);
  let across = tapsOf(column, p.inColumns, p.kernelColumns, p.strideColumns, p.dilationColumns, p.beforeColumns);
  var sum = TypeX();
  var y = down.place;
  for (var r = down.first; r < down.end; r += down.step) {
    let line = lineOf(image, y);
    var x = across.place;
    for (var s = across.first; s < across.end; s += across.step) {
      sum += pixel(line, x, c) * loadW((r * p.kernelColumns + s) * p.channels + c);
      x += across.advance;
    }
    y += down.advance;
  }
  put(image, row, column, c, sum);
}
