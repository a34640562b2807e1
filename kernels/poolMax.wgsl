// The maximum of a window: the first of equal values; NaN, the last one, where the window holds any.
//
// Expects: pool; alias Bits, a u32 for every element of a TypeX; operand x.

struct Winner { value: TypeX, pixel: Bits }

fn winnerOf(image: u32, windowRow: u32, windowColumn: u32, c: u32) -> Winner {
  let rows = rowsOf(windowRow);
  let columns = columnsOf(windowColumn);
  let first = pixelAt(image, rows.first, columns.first);
  var best = Winner(loadX(first * p.channels + c), Bits(first));
  for (var row = rows.first; row < rows.end; row++) {
    for (var column = columns.first; column < columns.end; column++) {
      let pixel = pixelAt(image, row, column);
      let v = loadX(pixel * p.channels + c);
      let isNan = (bitcast<Bits>(v) & Bits(0x7fffffffu)) > Bits(0x7f800000u);
      let wins = (v > best.value) | isNan;
      best.value = select(best.value, v, wins);
      best.pixel = select(best.pixel, Bits(pixel), wins);
    }
  }
  return best;
}
