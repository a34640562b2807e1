// Transposes panels through workgroup memory, so that reads and writes both walk adjacent memory. A workgroup moves a
// tile of 32 x 32 elements; a column of padding keeps the lanes of its second pass in different banks.
//
// Expects: p.rows, p.columns: u32, of a panel in x, where columns are adjacent; rows are adjacent in y;
//   p.rowStep, p.columnStep: u32, elements between rows in x and between columns in y; p.tilesDown, p.tilesAcross: u32;
//   struct Places { x: u32, y: u32 }; fn places(panel: u32) -> Places, where a panel begins.

const SIDE: u32 = 32u;
const PASS: u32 = 8u;
var<workgroup> tile: array<u32, SIDE * (SIDE + 1u)>;

@compute @workgroup_size(SIDE * PASS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let row = (group % p.tilesDown) * SIDE;
  let column = ((group / p.tilesDown) % p.tilesAcross) * SIDE;
  let at = places(group / (p.tilesDown * p.tilesAcross));
  let along = lane % SIDE;
  for (var s = lane / SIDE; s < SIDE; s += PASS) {
    if (row + s < p.rows && column + along < p.columns) {
      tile[s * (SIDE + 1u) + along] = loadX(at.x + (row + s) * p.rowStep + column + along);
    }
  }
  workgroupBarrier();
  for (var s = lane / SIDE; s < SIDE; s += PASS) {
    if (row + along < p.rows && column + s < p.columns) {
      storeY(at.y + (column + s) * p.columnStep + row + along, tile[along * (SIDE + 1u) + s]);
    }
  }
}
