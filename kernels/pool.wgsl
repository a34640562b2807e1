// Pools and their gradients. An invocation makes one vector of channels of one pixel; padding never takes part.
//
// Expects: p.count, p.channels (in vectors), and for images and windows: p.rows, p.columns, p.windowRows, p.windowColumns
//   (their numbers), p.kernelRows, p.kernelColumns, p.strideRows, p.strideColumns, p.top, p.left: u32; p.madeRows,
//   p.madeColumns, of the output; fn result(image, row, column, c) -> TypeMade; operand made, the output.

struct Span { first: u32, end: u32 }

// Pixels of window o that lie in the image.
fn pixelsOf(o: u32, size: u32, kernel: u32, stride: u32, before: u32) -> Span {
  let start = i32(o * stride) - i32(before);
  return Span(u32(max(0, start)), u32(min(i32(size), start + i32(kernel))));
}
fn rowsOf(o: u32) -> Span { return pixelsOf(o, p.rows, p.kernelRows, p.strideRows, p.top); }
fn columnsOf(o: u32) -> Span { return pixelsOf(o, p.columns, p.kernelColumns, p.strideColumns, p.left); }

// Windows that hold pixel i.
fn windowsWith(i: u32, windows: u32, kernel: u32, stride: u32, before: u32) -> Span {
  let far = i + before;
  return Span(select((far - kernel) / stride + 1u, 0u, far < kernel), min(windows, far / stride + 1u));
}
fn windowRowsWith(row: u32) -> Span { return windowsWith(row, p.windowRows, p.kernelRows, p.strideRows, p.top); }
fn windowColumnsWith(column: u32) -> Span {
  return windowsWith(column, p.windowColumns, p.kernelColumns, p.strideColumns, p.left);
}

fn pixelAt(image: u32, row: u32, column: u32) -> u32 { return (image * p.rows + row) * p.columns + column; }
fn windowAt(image: u32, row: u32, column: u32, c: u32) -> u32 {
  return ((image * p.windowRows + row) * p.windowColumns + column) * p.channels + c;
}

@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * 64u + lane;
  if (i >= p.count) { return; }
  let place = i / p.channels;
  let line = place / p.madeColumns;
  storeMade(i, result(line / p.madeRows, line % p.madeRows, place % p.madeColumns, i % p.channels));
}
