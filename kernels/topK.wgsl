// The k first of every block of a row's entries: NaN, then larger, then lower index. An entry's rank is the number of
// entries of its block that come before it, so every entry finds its own place; the entries pass through workgroup memory.
//
// Expects: const LANES: u32; p.n, p.entries, p.block, p.blocks, p.tiles, p.k: u32; n is the row's size, tiles are the
//   workgroups of a block. Entries are all of the row, or those that `loadEntries` names: const ALL: bool.
//   fn keep(row: u32, at: u32, index: u32), of the entry of that rank.

struct Entry { key: u32, index: u32 }
var<workgroup> tile: array<Entry, LANES>;

// An unsigned number in the order of the float: -0 equals 0, every NaN is above infinity.
fn keyOf(float: u32) -> u32 {
  if ((float & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  return select(float | 0x80000000u, ~float, float > 0x80000000u);
}
fn entryAt(row: u32, at: u32) -> Entry {
  var index = at;
  if (!ALL) { index = loadEntries(row * p.entries + at); }
  return Entry(keyOf(loadX(row * p.n + index)), index);
}

@compute @workgroup_size(LANES) fn main(
  @builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) nwg: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let group = groupOf(wid, nwg);
  if (group >= p.groups) { return; }
  let block = (group / p.tiles) % p.blocks;
  let row = group / p.tiles / p.blocks;
  let begin = block * p.block;
  let end = min(begin + p.block, p.entries);
  let at = begin + (group % p.tiles) * LANES + lane;
  var own: Entry;
  if (at < end) { own = entryAt(row, at); }
  var rank = 0u;
  for (var base = begin; base < end; base += LANES) {
    workgroupBarrier();
    if (base + lane < end) { tile[lane] = entryAt(row, base + lane); }
    workgroupBarrier();
    let stop = min(LANES, end - base);
    for (var t = 0u; t < stop; t++) {
      let other = tile[t];
      rank += select(0u, 1u, other.key > own.key || (other.key == own.key && other.index < own.index));
    }
  }
  if (at < end && rank < p.k) { keep(row, block * p.k + rank, own.index); }
}
