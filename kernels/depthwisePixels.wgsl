// How the depthwise kernels read images [N, rows, columns, channels].
//
// Expects: p.inRows, p.inColumns, p.channels: u32 (channels in vectors); operand x.

fn isRow(row: i32) -> bool { return u32(row) < p.inRows; }

fn lineOf(image: u32, row: i32) -> u32 { return (image * p.inRows + u32(row)) * p.inColumns; }

// Vector c of a pixel, zero left and right of the image. Loads always, so that loads are not kept apart by branches.
fn pixel(line: u32, column: i32, c: u32) -> TypeX {
  let inside = u32(column) < p.inColumns;
  let v = loadX((line + select(0u, u32(column), inside)) * p.channels + c);
  return select(TypeX(), v, inside);
}
