/**
 * Placing step buffers in one block of memory.
 *
 * Two buffers may overlap when their lifetimes do not. Largest first, each at the lowest free offset (the greedy-by-
 * size rule of Pisarchyk and Lee 2020, "Efficient memory management for deep neural net inference").
 */

export interface Lifetime {
  readonly bytes: number;
  /** First and last step that uses the buffer, inclusive. */
  readonly start: number;
  readonly end: number;
}

export const alignment = 64;
const align = (n: number) => Math.ceil(n / alignment) * alignment;

/** Byte offset of each buffer, and the bytes of the whole block. */
export function place(buffers: readonly Lifetime[]): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(buffers.length).fill(0);
  const order = buffers.map((_, i) => i).sort((a, b) => buffers[b]!.bytes - buffers[a]!.bytes || a - b);
  const placed: number[] = [];
  let total = 0;
  for (const i of order) {
    const b = buffers[i]!;
    let at = 0;
    for (const j of placed) {
      const other = buffers[j]!;
      if (other.end < b.start || other.start > b.end) continue;
      if (at + align(b.bytes) <= offsets[j]!) break;
      at = Math.max(at, offsets[j]! + align(other.bytes));
    }
    offsets[i] = at;
    total = Math.max(total, at + align(b.bytes));
    // `placed` stays sorted by offset, so the scan above sees the gaps in order.
    let k = placed.length;
    while (k > 0 && offsets[placed[k - 1]!]! > at) k--;
    placed.splice(k, 0, i);
  }
  return { offsets, bytes: total };
}

export interface Place {
  readonly bank: number;
  readonly offset: number;
}

/**
 * The same in several blocks ("banks"), for devices where one block must not be read and written by one kernel even at
 * places apart: buffers with different sides of a kernel lie in different banks. Each goes where its bank grows least.
 * @param apart pairs of buffers that must not share a bank
 * @param maxBytes of one bank; a buffer larger than that gets a bank of its own
 */
export function placeInBanks(
  buffers: readonly Lifetime[],
  apart: Iterable<readonly [number, number]>,
  maxBytes: number,
  alignTo = alignment,
): { places: Place[]; bankBytes: number[] } {
  const up = (n: number) => Math.ceil(n / alignTo) * alignTo;
  const enemies = buffers.map(() => new Set<number>());
  for (const [i, j] of apart) {
    enemies[i]!.add(j);
    enemies[j]!.add(i);
  }
  const order = buffers.map((_, i) => i).sort((a, b) => buffers[b]!.bytes - buffers[a]!.bytes || a - b);
  const places = new Array<Place>(buffers.length);
  /** By bank: its buffers by offset. */
  const banks: number[][] = [];
  const bankBytes: number[] = [];
  /** The lowest free place in a bank. */
  const lowest = (bank: readonly number[], b: Lifetime): number => {
    let at = 0;
    for (const j of bank) {
      const other = buffers[j]!;
      if (other.end < b.start || other.start > b.end) continue;
      if (at + up(b.bytes) <= places[j]!.offset) break;
      at = Math.max(at, places[j]!.offset + up(other.bytes));
    }
    return at;
  };
  for (const i of order) {
    const b = buffers[i]!;
    let best: { bank: number; offset: number; growth: number } | undefined;
    banks.forEach((members, bank) => {
      if (members.some((j) => enemies[i]!.has(j))) return;
      const offset = lowest(members, b);
      const end = offset + up(b.bytes);
      if (end > maxBytes) return;
      const growth = Math.max(0, end - bankBytes[bank]!);
      if (!best || growth < best.growth) best = { bank, offset, growth };
    });
    const { bank, offset } = best ?? { bank: banks.push([]) - 1, offset: 0 };
    bankBytes[bank] = Math.max(bankBytes[bank] ?? 0, offset + up(b.bytes));
    places[i] = { bank, offset };
    const members = banks[bank]!;
    let k = members.length;
    while (k > 0 && places[members[k - 1]!]!.offset > offset) k--;
    members.splice(k, 0, i);
  }
  return { places, bankBytes };
}
