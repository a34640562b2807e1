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
