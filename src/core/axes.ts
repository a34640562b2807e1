/** Axes of a broadcast space, as kernels walk them. */

export interface Axes {
  readonly dims: readonly number[];
  /** Element strides per operand. */
  readonly strides: readonly (readonly number[])[];
}

/** Merges axes of a broadcast space that all operands walk as one; size-1 axes vanish. At least one axis remains. */
export function mergeAxes(shape: readonly number[], operands: readonly (readonly number[])[]): Axes {
  const dims: number[] = [];
  const strides: number[][] = operands.map(() => []);
  const own = operands.map((s) => {
    const out: number[] = [];
    let step = 1;
    for (let i = shape.length - 1; i >= 0; i--) {
      const n = s[s.length - shape.length + i] ?? 1;
      out[i] = n === 1 ? 0 : step;
      step *= n;
    }
    return out;
  });
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 1) continue;
    const last = dims.length - 1;
    const n = shape[i]!;
    if (last >= 0 && own.every((s, k) => strides[k]![last] === s[i]! * n)) {
      dims[last]! *= n;
      own.forEach((s, k) => {
        strides[k]![last] = s[i]!;
      });
    } else {
      dims.push(n);
      own.forEach((s, k) => {
        strides[k]!.push(s[i]!);
      });
    }
  }
  if (dims.length === 0) {
    dims.push(1);
    for (const s of strides) s.push(0);
  }
  return { dims, strides };
}
