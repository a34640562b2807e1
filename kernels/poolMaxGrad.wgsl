// A pixel gathers dy of the windows that it wins. Expects: pool, poolMax; operands x, dy.

fn result(image: u32, row: u32, column: u32, c: u32) -> TypeMade {
  let down = windowRowsWith(row);
  let across = windowColumnsWith(column);
  let own = Bits(pixelAt(image, row, column));
  var sum = TypeMade();
  for (var i = down.first; i < down.end; i++) {
    for (var j = across.first; j < across.end; j++) {
      let won = winnerOf(image, i, j, c).pixel == own;
      sum += select(TypeMade(), loadDy(windowAt(image, i, j, c)), won);
    }
  }
  return sum;
}
