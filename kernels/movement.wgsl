// The frame of kernels whose results are made independently of each other: one invocation per index.
//
// Expects: p.count: u32; fn make(i: u32), called for every i below it.

@compute @workgroup_size(64) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let i = groupOf(wid, nwg) * 64u + lane;
  if (i < p.count) { make(i); }
}
