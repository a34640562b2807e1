/** Shapes are plain arrays of sizes; the last axis varies fastest. */
import { ShapeError } from './errors.ts';

export type Shape = readonly number[];

export const sizeOf = (shape: Shape): number => shape.reduce((a, b) => a * b, 1);
export const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((d, i) => d === b[i]);
export const showShape = (shape: Shape): string => `[${shape.join(', ')}]`;

/** Row-major element strides. */
export function stridesOf(shape: Shape): number[] {
  const out = new Array<number>(shape.length);
  let s = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = s;
    s *= shape[i]!;
  }
  return out;
}

/** Strides of an operand inside a broadcast shape, 0 along stretched axes. */
export function broadcastStrides(shape: Shape, to: Shape): number[] {
  const own = stridesOf(shape);
  const pad = to.length - shape.length;
  return to.map((d, i) => (i < pad || (shape[i - pad] === 1 && d !== 1) ? 0 : own[i - pad]!));
}

/** NumPy's rule: align at the last axis, sizes equal or 1. `undefined` where the shapes do not fit. */
export function broadcastShapes(shapes: readonly Shape[]): Shape | undefined {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const s of shapes)
    for (let i = 0; i < s.length; i++) {
      const at = rank - s.length + i;
      const d = s[i]!;
      if (d === 1 || d === out[at]) continue;
      if (out[at] !== 1) return undefined;
      out[at] = d;
    }
  return out;
}

/** Negative axes count from the end; the result is sorted and without repeats. `undefined` means all axes. */
export function normalizeAxes(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  const list = (typeof axes === 'number' ? [axes] : [...axes]).map((a) => (a < 0 ? a + rank : a));
  for (const a of list)
    if (!Number.isInteger(a) || a < 0 || a >= rank)
      throw new ShapeError(
        `${op}: expected axes between ${-rank} and ${rank - 1}, got ${JSON.stringify(axes)}\n  the tensor has ${rank} axes\nPass an axis that the tensor has.`,
      );
  return [...new Set(list)].sort((a, b) => a - b);
}
