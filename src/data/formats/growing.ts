/** Columns of numbers whose length is not known beforehand: facts of millions of images without an object for each. */

type Numbers = Float64Array | Float32Array | Int32Array | Uint8Array;

/** A typed array that grows at its end. */
export class Growing<T extends Numbers> {
  length = 0;
  private held: T;

  constructor(empty: T) {
    this.held = empty;
  }
  private room(count: number): void {
    if (this.length + count <= this.held.length) return;
    const Kind = this.held.constructor as new (length: number) => T;
    const larger = new Kind(Math.max(1024, 2 * this.held.length, this.length + count));
    larger.set(this.held.subarray(0, this.length));
    this.held = larger;
  }
  push(value: number): void {
    this.room(1);
    this.held[this.length++] = value;
  }
  append(values: ArrayLike<number>): void {
    this.room(values.length);
    this.held.set(values, this.length);
    this.length += values.length;
  }
  /** What was added so far; a view. */
  get values(): T {
    return this.held.subarray(0, this.length) as T;
  }
}

/** How many of ascending numbers are below a value: the place of the first that is not. */
export function lowerBound(ascending: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Places of numbers in ascending order of theirs; undefined where they are ascending already. */
export function ascendingOrder(numbers: ArrayLike<number>): Uint32Array | undefined {
  let i = 1;
  while (i < numbers.length && numbers[i - 1]! <= numbers[i]!) i++;
  if (i >= numbers.length) return undefined;
  return Uint32Array.from({ length: numbers.length }, (_, k) => k).sort((a, b) => numbers[a]! - numbers[b]! || a - b);
}
