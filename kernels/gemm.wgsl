// Matrix products C = A·B, in blocks of 4×4: what the two ways of walking K (gemmStaged, gemmDirect) share.
//
// A block of A is a matrix whose column r holds row r at k, k+1, k+2, k+3; one of B has in column q what stands at k + q
// in four adjacent columns. So a block of C, column r for row r, gains the product of the two. Where A, B and C lie in
// memory is for the loaders to know.
//
// Expects: const TILE_M, TILE_N, TILE_K, ROWS, COLUMNS: u32 (of a workgroup's tile, and what an invocation makes of it);
//   const K_TAIL: bool (blocks may reach past the end of K);
//   p.m, p.n, p.k; p.tilesM, p.tilesN; p.slices, p.depth (of K), p.cSlice (elements of C from slice to slice);
//   RowsA, fn rowsA(batch, row) -> RowsA: four rows; StepA, fn stepA(batch, k) -> StepA: four k;
//   fn blockA(rows: RowsA, step: StepA) -> mat4x4<f32>; of B likewise ColumnsB, columnsB, StepB, stepB, blockB;
//   fn placeC(batch, row) -> u32: element C[row, 0]; fn putC(element, column, v: vec4<f32>): four along the row.

/** Invocations of a workgroup along N and along M. Each makes blocks that lie this many blocks apart. */
const ACROSS = TILE_N / COLUMNS;
const DOWN = TILE_M / ROWS;

struct Tile { row: u32, column: u32, slice: u32, batch: u32, first: u32, end: u32 }

/** Neighbours share rows of A, which is the larger operand as a rule. */
fn tileOf(group: u32) -> Tile {
  let column = group % p.tilesN;
  let row = (group / p.tilesN) % p.tilesM;
  let rest = group / (p.tilesN * p.tilesM);
  let slice = rest % p.slices;
  return Tile(
    row * TILE_M, column * TILE_N, slice, rest / p.slices, slice * p.depth, min(p.k, (slice + 1u) * p.depth));
}

/** Zero where k is past the end: on both sides, since what lies there may be infinite. */
fn keptA(block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
  if (!K_TAIL) { return block; }
  let inside = vec4<u32>(k, k + 1u, k + 2u, k + 3u) < vec4<u32>(p.k);
  let zero = vec4<f32>();
  return mat4x4<f32>(
    select(zero, block[0], inside), select(zero, block[1], inside),
    select(zero, block[2], inside), select(zero, block[3], inside));
}
fn keptB(block: mat4x4<f32>, k: u32) -> mat4x4<f32> {
  if (!K_TAIL) { return block; }
  let zero = vec4<f32>();
  return mat4x4<f32>(
    select(zero, block[0], k < p.k), select(zero, block[1], k + 1u < p.k),
    select(zero, block[2], k + 2u < p.k), select(zero, block[3], k + 3u < p.k));
}

fn plusLine(c: vec4<f32>, a: vec4<f32>, b: mat4x4<f32>) -> vec4<f32> {
  return c + a.x * b[0] + a.y * b[1] + a.z * b[2] + a.w * b[3];
}
fn plusProduct(c: mat4x4<f32>, a: mat4x4<f32>, b: mat4x4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(plusLine(c[0], a[0], b), plusLine(c[1], a[1], b), plusLine(c[2], a[2], b), plusLine(c[3], a[3], b));
}

fn storeLine(tile: Tile, row: u32, column: u32, v: vec4<f32>) {
  if (row < p.m) { putC(tile.slice * p.cSlice + placeC(tile.batch, row) + column, column, v); }
}
fn storeBlock(tile: Tile, row: u32, column: u32, block: mat4x4<f32>) {
  if (column >= p.n) { return; }
  storeLine(tile, row, column, block[0]);
  storeLine(tile, row + 1u, column, block[1]);
  storeLine(tile, row + 2u, column, block[2]);
  storeLine(tile, row + 3u, column, block[3]);
}
