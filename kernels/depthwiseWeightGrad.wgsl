// First level of the depthwise weight gradient. A workgroup sums over a block of tiles of dy for COLUMNS vectors of channels
// and one group of taps; its PARTS invocations per vector walk the tiles side by side, then their sums are added in order.
//
// Expects: const COLUMNS, PARTS, TAPS: u32; p.channels, p.channelGroups, p.tapGroups, p.tiles, p.tilesAcross, p.outRows,
//   p.block: u32; struct Sums, a vector per tap of a group; fn accumulate(&sums, image, row, tileColumn, tapGroup, c);
//   fn share(lane, sums), which puts tap t to shared_[t · COLUMNS · PARTS + lane]; operand dw, a row of taps per block.

var<workgroup> shared_: array<TypeDw, TAPS * COLUMNS * PARTS>;

@compute @workgroup_size(COLUMNS * PARTS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  // Neighbours read the same pixels, so that caches serve all taps.
  let firstColumn = (group % p.channelGroups) * COLUMNS;
  let tapGroup = (group / p.channelGroups) % p.tapGroups;
  let block = group / (p.channelGroups * p.tapGroups);
  let c = firstColumn + lane % COLUMNS;
  var sums: Sums;
  if (c < p.channels) {
    let end = min(p.tiles, (block + 1u) * p.block);
    for (var tile = block * p.block + lane / COLUMNS; tile < end; tile += PARTS) {
      let line = tile / p.tilesAcross;
      accumulate(&sums, line / p.outRows, line % p.outRows, tile % p.tilesAcross, tapGroup, c);
    }
  }
  share(lane, sums);
  workgroupBarrier();
  for (var i = lane; i < TAPS * COLUMNS; i += COLUMNS * PARTS) {
    let tap = i / COLUMNS;
    let column = i % COLUMNS;
    let at = tap * COLUMNS * PARTS + column;
    var sum = shared_[at];
    for (var part = 1u; part < PARTS; part++) { sum += shared_[at + part * COLUMNS]; }
    if (firstColumn + column < p.channels) {
      storeDw(((block * p.tapGroups + tapGroup) * TAPS + tap) * p.channels + firstColumn + column, sum);
    }
  }
}
