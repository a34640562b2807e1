// Depthwise convolution, and its input gradient, where x is dy. An invocation makes a tile of adjacent pixels of one
// vector of channels; adjacent invocations have adjacent channels.
//
// Expects: depthwisePixels; p.count, p.tilesDown, p.tilesAcross, p.outRows, p.outColumns: u32;
//   fn makeTile(image, tileRow, tileColumn, c), which calls `put` for every pixel of the tile; operand y.

fn put(image: u32, row: u32, column: u32, c: u32, value: TypeX) {
  if (row >= p.outRows || column >= p.outColumns) { return; }
  storeY(((image * p.outRows + row) * p.outColumns + column) * p.channels + c, value);
}

@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * 64u + lane;
  if (i >= p.count) { return; }
  let tile = i / p.channels;
  let line = tile / p.tilesAcross;
  makeTile(line / p.tilesDown, line % p.tilesDown, tile % p.tilesAcross, i % p.channels);
}
