// Reads entries of the axis of x [outer, size, inner] by index: y [outer, entries, inner], or one index for every element.
//
// Expects: p.size, p.entries, p.inner: u32 (inner counts vectors where x has them); p.missing: u32, the bits for an index
//   outside; const ALONG: bool, whether the indices have y's shape, else they are a list of entries.

fn gathered(at: u32) -> TypeX {
  let row = at / p.inner;
  var place = at;
  if (!ALONG) { place = row % p.entries; }
  // A negative index becomes a large one.
  let index = bitcast<u32>(loadIndices(place));
  if (index >= p.size) { return TypeX(p.missing); }
  return loadX(((row / p.entries) * p.size + index) * p.inner + at % p.inner);
}
