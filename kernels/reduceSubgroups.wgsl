// Reduces rows: a workgroup of PARTS invocations makes one result of a [outer, red, 1] space. As reduce.wgsl with COLUMNS = 1,
// but sums meet inside subgroups first, so that one barrier is enough.
//
// Expects what reduce.wgsl does, and fn across(sums: Sums) -> Sums: merged over the subgroup.

var<workgroup> bySubgroup: array<Sums, PARTS>;

@compute @workgroup_size(PARTS) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) part: u32, @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32, @builtin(subgroup_size) size: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let block = group % p.blocks;
  let row = group / p.blocks;
  let end = min(p.red, (block + 1u) * p.block);
  var sums = start();
  for (var r = block * p.block + part; r < end; r += PARTS) { sums = merge(sums, element(row, r, 0u)); }
  sums = across(sums);
  if (lane == 0u) { bySubgroup[subgroup] = sums; }
  workgroupBarrier();
  var total = start();
  for (var k = lane; k < subgroups; k += size) { total = merge(total, bySubgroup[k]); }
  total = across(total);
  if (part == 0u) { store(block * p.columns + row, total); }
}
