// First level of the depthwise weight gradient. An invocation sums over a block of tiles of dy for one vector of channels and
// one group of taps, in registers, and stores its sums; PARTS of them per vector of channels are in a workgroup.
//
// Expects: const COLUMNS, PARTS: u32; p.channels, p.channelGroups, p.tapGroups, p.tiles, p.tilesAcross, p.outRows,
//   p.block: u32; struct Sums, a vector per tap of a group; fn accumulate(&sums, image, row, tileColumn, tapGroup, c);
//   fn keep(block, tapGroup, c, sums), which stores them; operand dw, a row of taps per block.

@compute @workgroup_size(COLUMNS * PARTS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  // Neighbours read the same pixels, so that caches serve all taps.
  let c = (group % p.channelGroups) * COLUMNS + lane % COLUMNS;
  let tapGroup = (group / p.channelGroups) % p.tapGroups;
  let block = group / (p.channelGroups * p.tapGroups) * PARTS + lane / COLUMNS;
  if (c >= p.channels || block * p.block >= p.tiles) { return; }
  var sums: Sums;
  let end = min(p.tiles, (block + 1u) * p.block);
  for (var tile = block * p.block; tile < end; tile++) {
    let line = tile / p.tilesAcross;
    accumulate(&sums, line / p.outRows, line % p.outRows, tile % p.tilesAcross, tapGroup, c);
  }
  keep(block, tapGroup, c, sums);
}
