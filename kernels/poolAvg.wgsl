// The mean of a window, and its gradient: a pixel gathers its share of dy = x of the windows that hold it.
//
// Expects: pool; const GRADIENT: bool; const WHOLE: bool (padding counts in the divisor); operand x.

fn divisor(rows: Span, columns: Span) -> TypeX {
  let inside = (rows.end - rows.first) * (columns.end - columns.first);
  return TypeX(f32(select(inside, p.kernelRows * p.kernelColumns, WHOLE)));
}

fn result(image: u32, row: u32, column: u32, c: u32) -> TypeX {
  var sum = TypeX();
  if (GRADIENT) {
    let down = windowRowsWith(row);
    let across = windowColumnsWith(column);
    for (var i = down.first; i < down.end; i++) {
      for (var j = across.first; j < across.end; j++) {
        sum += loadX(windowAt(image, i, j, c)) / divisor(rowsOf(i), columnsOf(j));
      }
    }
    return sum;
  }
  let down = rowsOf(row);
  let across = columnsOf(column);
  for (var i = down.first; i < down.end; i++) {
    for (var j = across.first; j < across.end; j++) { sum += loadX(pixelAt(image, i, j) * p.channels + c); }
  }
  return sum / divisor(down, across);
}
