// Walks K in steps of TILE_K: the workgroup brings its part of A and B into workgroup memory, and each element is read
// from memory once per tile. For GPUs.
//
// Expects gemm.wgsl, const A_ALONG_K, B_ALONG_K: bool (how the operands lie in memory), and for the blocks of an invocation
//   struct Sums; fn addBlocks(sums: ptr<function, Sums>, place: Staged, k), k counting blocks;
//   fn storeSums(sums: ptr<function, Sums>, tile: Tile, row, column).

const BLOCKS_K = TILE_K / 4u;
const BLOCKS_M = TILE_M / 4u;
const BLOCKS_N = TILE_N / 4u;
/** Vectors of one column of all blocks along M or N. Two to spare keep stores along K in different banks. */
const LINE_A = BLOCKS_M + 2u;
const LINE_B = BLOCKS_N + 2u;

var<workgroup> stageA: array<vec4<f32>, LINE_A * TILE_K>;
var<workgroup> stageB: array<vec4<f32>, LINE_B * TILE_K>;

struct Staged { down: u32, across: u32 }

fn stagedA(k: u32, m: u32) -> mat4x4<f32> {
  let at = k * LINE_A + m;
  const NEXT = BLOCKS_K * LINE_A;
  return mat4x4<f32>(stageA[at], stageA[at + NEXT], stageA[at + 2u * NEXT], stageA[at + 3u * NEXT]);
}
fn stagedB(k: u32, n: u32) -> mat4x4<f32> {
  let at = k * LINE_B + n;
  const NEXT = BLOCKS_K * LINE_B;
  return mat4x4<f32>(stageB[at], stageB[at + NEXT], stageB[at + 2u * NEXT], stageB[at + 3u * NEXT]);
}
/** Brings in block i of A's part of the tile; neighbours read adjacent memory. */
fn fillA(tile: Tile, first: u32, i: u32) {
  let k = select(i / BLOCKS_M, i % BLOCKS_K, A_ALONG_K);
  let m = select(i % BLOCKS_M, i / BLOCKS_K, A_ALONG_K);
  let start = first + 4u * k;
  let block = keptA(blockA(rowsA(tile.batch, tile.row + 4u * m), stepA(tile.batch, start)), start);
  let at = k * LINE_A + m;
  const NEXT = BLOCKS_K * LINE_A;
  stageA[at] = block[0];
  stageA[at + NEXT] = block[1];
  stageA[at + 2u * NEXT] = block[2];
  stageA[at + 3u * NEXT] = block[3];
}
fn fillB(tile: Tile, first: u32, i: u32) {
  let k = select(i / BLOCKS_N, i % BLOCKS_K, B_ALONG_K);
  let n = select(i % BLOCKS_N, i / BLOCKS_K, B_ALONG_K);
  let start = first + 4u * k;
  let block = keptB(blockB(columnsB(tile.batch, tile.column + 4u * n), stepB(tile.batch, start)), start);
  let at = k * LINE_B + n;
  const NEXT = BLOCKS_K * LINE_B;
  stageB[at] = block[0];
  stageB[at + NEXT] = block[1];
  stageB[at + 2u * NEXT] = block[2];
  stageB[at + 3u * NEXT] = block[3];
}

@compute @workgroup_size(ACROSS * DOWN) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let tile = tileOf(group);
  let place = Staged(lane / ACROSS, lane % ACROSS);
  var sums = Sums();
  for (var first = tile.first; first < tile.end; first += TILE_K) {
    workgroupBarrier();
    for (var i = lane; i < (BLOCKS_M + BLOCKS_N) * BLOCKS_K; i += ACROSS * DOWN) {
      if (i < BLOCKS_M * BLOCKS_K) { fillA(tile, first, i); } else { fillB(tile, first, i - BLOCKS_M * BLOCKS_K); }
    }
    workgroupBarrier();
    for (var k = 0u; k < BLOCKS_K; k++) { addBlocks(&sums, place, k); }
  }
  storeSums(&sums, tile, tile.row + 4u * place.down, tile.column + 4u * place.across);
}
