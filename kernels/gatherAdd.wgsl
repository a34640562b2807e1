// Adds updates [outer, entries, inner] into y [outer, size, inner] at the places that indices name, in index order and
// without atomics. Where there are more entries than places, an invocation makes an element of y and looks through all
// indices. Else y was filled with zeros, and the first entry of a place gathers the later ones and stores their sum.
//
// Expects: p.entries, p.size, p.inner: u32 (inner may count vectors); const ALONG: bool, whether every update has its own
//   index, else they are a list of entries; const PLACES: bool, whether `make` goes over elements of y or over updates.

// The index of entry k in the column that begins at `top`.
fn indexOf(top: u32, k: u32) -> u32 {
  var at = k;
  if (ALONG) { at = top + k * p.inner; }
  // A negative index becomes a large one.
  return bitcast<u32>(loadIndices(at));
}
fn sumFrom(top: u32, begin: u32, place: u32) -> TypeY {
  var sum: TypeY;
  for (var k = begin; k < p.entries; k++) {
    if (indexOf(top, k) == place) { sum += loadUpdates(top + k * p.inner); }
  }
  return sum;
}

fn make(i: u32) {
  let row = i / p.inner;
  let column = i % p.inner;
  if (PLACES) {
    storeY(i, sumFrom((row / p.size) * p.entries * p.inner + column, 0u, row % p.size));
    return;
  }
  let outer = row / p.entries;
  let own = row % p.entries;
  let top = outer * p.entries * p.inner + column;
  let place = indexOf(top, own);
  if (place >= p.size) { return; }
  for (var k = 0u; k < own; k++) {
    if (indexOf(top, k) == place) { return; }
  }
  storeY((outer * p.size + place) * p.inner + column, sumFrom(top, own, place));
}
