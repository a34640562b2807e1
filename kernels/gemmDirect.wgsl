// Walks K a block at a time, straight from memory: no workgroup memory, no barriers. For devices whose memory is their
// cache, such as CPUs, with blocks as large as the registers allow.
//
// Expects gemm.wgsl, and for the blocks of an invocation
//   struct Sums; struct Sources; fn sourcesAt(batch, row, column) -> Sources;
//   fn addBlocks(sums: ptr<function, Sums>, sources: Sources, k), k counting elements;
//   fn storeSums(sums: ptr<function, Sums>, tile: Tile, row, column).

@compute @workgroup_size(ACROSS * DOWN) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let tile = tileOf(group);
  let row = tile.row + 4u * (lane / ACROSS);
  let column = tile.column + 4u * (lane % ACROSS);
  if (row >= p.m || column >= p.n) { return; }
  let sources = sourcesAt(tile.batch, row, column);
  var sums = Sums();
  for (var k = tile.first; k < tile.end; k += 4u) { addBlocks(&sums, sources, k); }
  storeSums(&sums, tile, row, column);
}
