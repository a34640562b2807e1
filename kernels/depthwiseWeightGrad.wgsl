// First level of the depthwise weight gradient. A workgroup sums over a block of tiles of dy for COLUMNS vectors of channels
// and one group of taps; its PARTS invocations per vector walk the tiles side by side and are merged as a tree.
//
// Expects: const COLUMNS, PARTS, TAPS: u32; p.channels, p.channelGroups, p.tapGroups, p.tiles, p.tilesAcross, p.outRows,
//   p.block: u32; struct Sums, a vector per tap of a group; fn accumulate(&sums, image, row, tileColumn, tapGroup, c);
//   fn merge(a: Sums, b: Sums) -> Sums; fn store(tap, c, sums), where taps of block b follow those of block b − 1.

var<workgroup> shared_: array<Sums, COLUMNS * PARTS>;

@compute @workgroup_size(COLUMNS * PARTS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  // Neighbours read the same pixels, so that caches serve all taps.
  let c = (group % p.channelGroups) * COLUMNS + lane % COLUMNS;
  let tapGroup = (group / p.channelGroups) % p.tapGroups;
  let block = group / (p.channelGroups * p.tapGroups);
  let part = lane / COLUMNS;
  var sums: Sums;
  if (c < p.channels) {
    let end = min(p.tiles, (block + 1u) * p.block);
    for (var tile = block * p.block + part; tile < end; tile += PARTS) {
      let line = tile / p.tilesAcross;
      accumulate(&sums, line / p.outRows, line % p.outRows, tile % p.tilesAcross, tapGroup, c);
    }
  }
  shared_[lane] = sums;
  for (var half = PARTS / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (part < half) {
      sums = merge(sums, shared_[lane + half * COLUMNS]);
      shared_[lane] = sums;
    }
  }
  if (part == 0u && c < p.channels) { store((block * p.tapGroups + tapGroup) * TAPS, c, sums); }
}
