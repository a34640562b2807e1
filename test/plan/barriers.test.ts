/** Which calls of a WASM schedule wait for the ones before. A race shows only now and then; the flags show it always. */
import { expect, test } from 'vitest';
import type { Tensor } from '../../src/core/tensor.ts';
import { lowerWasm } from '../../src/device/lowerWasm.ts';
import { flip } from '../../src/ops/movement.ts';
import { exp, neg } from '../../src/ops/pointwise.ts';
import { fuse } from '../../src/plan/fuse.ts';
import { trace } from '../../src/plan/trace.ts';
import { narrowRelaxed } from '../helpers/kernelRunner.ts';

const square = { shape: [64, 64], dtype: 'f32' } as const;

/** For each step in order: whether its first call waits. */
function waits(fn: (x: Tensor, w: Tensor) => Record<string, Tensor>): boolean[] {
  const graph = trace(({ x, w }) => fn(x!, w!), { x: square, w: square }, false);
  const { calls } = lowerWasm(fuse(graph), narrowRelaxed);
  const first = new Map<number, boolean>();
  for (const c of calls) if (!first.has(c.step)) first.set(c.step, c.barrier);
  return [...first.values()];
}

test('a step that reads what an earlier one writes waits for it', () => {
  // Flips need no temporary memory, whose reuse would be a reason of its own to wait.
  const chain = waits((x) => {
    const a = flip(x, [0]);
    const b = flip(a, [1]);
    return { a, b, c: flip(b, [0]) };
  });
  expect(chain).toHaveLength(3);
  expect(chain.slice(1)).toEqual([true, true]);
});

test('steps that have nothing to do with each other do not wait', () => {
  const apart = waits((x, w) => ({ a: neg(x), b: exp(w) }));
  expect(apart).toHaveLength(2);
  expect(apart[1]).toBe(false);
});
