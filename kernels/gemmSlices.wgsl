// The second level of a product whose K is cut into slices: adds the slices' results in order.
//
// Expects: p.count, p.slices: elements or vectors of a slice, and slices; loadX, storeC, alias TypeC.

@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * 64u + lane;
  if (i >= p.count) { return; }
  var sum = TypeC();
  for (var slice = 0u; slice < p.slices; slice++) { sum += loadX(slice * p.count + i); }
  storeC(i, sum);
}
