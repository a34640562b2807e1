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

/**
 * The other way to place: whole objects instead of offsets, for devices where one buffer must not be read and written by
 * one kernel even at places apart. Buffers share an object when their lifetimes are apart. Largest first, each in the
 * smallest object that is free (shared objects, greedy by size, of the same paper). Objects come largest first.
 */
export function placeObjects(buffers: readonly Lifetime[]): { objects: number[]; sizes: number[] } {
  const order = buffers.map((_, i) => i).sort((a, b) => buffers[b]!.bytes - buffers[a]!.bytes || a - b);
  const members: Lifetime[][] = [];
  const sizes: number[] = [];
  const objects = new Array<number>(buffers.length).fill(0);
  for (const i of order) {
    const b = buffers[i]!;
    // Sizes fall, so the last free object is the smallest, and large enough.
    let at = members.length - 1;
    while (at >= 0 && members[at]!.some((m) => m.end >= b.start && m.start <= b.end)) at--;
    if (at < 0) {
      at = members.length;
      members.push([]);
      sizes.push(b.bytes);
    }
    members[at]!.push(b);
    objects[i] = at;
  }
  return { objects, sizes };
}
