// Reduces columns of a [outer, red, inner] space. A workgroup makes COLUMNS adjacent results; its PARTS invocations per
// result walk the reduced axis side by side and are merged: by sixteens, then the sixteen. Blocks of the axis go to
// different workgroups.
//
// Expects: const COLUMNS, PARTS: u32; p.columns, p.inner, p.red, p.block, p.blocks: u32;
//   struct Sums; fn start() -> Sums; fn merge(a: Sums, b: Sums) -> Sums;
//   fn element(outer, r, inner) -> Sums; fn store(index, sums).

const FEW: u32 = 16u;
var<workgroup> parts: array<Sums, COLUMNS * PARTS>;

@compute @workgroup_size(COLUMNS * PARTS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let block = group % p.blocks;
  let column = (group / p.blocks) * COLUMNS + lane % COLUMNS;
  let part = lane / COLUMNS;
  var sums = start();
  if (column < p.columns) {
    let outer = column / p.inner;
    let inner = column % p.inner;
    let end = min(p.red, (block + 1u) * p.block);
    for (var r = block * p.block + part; r < end; r += PARTS) { sums = merge(sums, element(outer, r, inner)); }
  }
  if (PARTS > 1u) {
    parts[lane] = sums;
    workgroupBarrier();
    if (PARTS > FEW) {
      if (part < FEW) {
        for (var k = part + FEW; k < PARTS; k += FEW) { sums = merge(sums, parts[lane % COLUMNS + k * COLUMNS]); }
        parts[lane] = sums;
      }
      workgroupBarrier();
    }
    if (part == 0u) {
      for (var k = 1u; k < min(PARTS, FEW); k++) { sums = merge(sums, parts[lane + k * COLUMNS]); }
    }
  }
  if (part == 0u && column < p.columns) { store(block * p.columns + column, sums); }
}
