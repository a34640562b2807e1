/**
 * Whether an adapter computes rightly: asked before `--device auto` takes it. A product with tails on every side and a
 * reduction over many rows must agree with f64 loops within the bound of f32 summation, (terms + 1)·2^-24·Σ|terms|
 * (Higham 2002, "Accuracy and Stability of Numerical Algorithms", eq. 3.5), doubled for fused or reordered sums.
 */
import { fold, keyOf, normal } from '../core/random.ts';
import { matmul } from '../ops/matmul.ts';
import { sum } from '../ops/reduce.ts';
import { trace } from '../plan/trace.ts';
import type { Device } from './device.ts';

const [m, k, n] = [61, 130, 77];

/** What is wrong with the device, in words; undefined where nothing is. */
export async function checkGpu(device: Device): Promise<string | undefined> {
  const draw = (name: string, size: number) => normal(fold(keyOf(1), name), size);
  const [a, b] = [draw('a', m * k), draw('b', k * n)];
  const graph = trace(
    (x) => ({ product: matmul(x.a!, x.b!), columns: sum(x.a!, 0) }),
    { a: { shape: [m, k], dtype: 'f32' }, b: { shape: [k, n], dtype: 'f32' } },
    false,
  );
  const plan = await device.compile(graph);
  try {
    const out = await plan.run(
      new Map([
        ['a', a],
        ['b', b],
      ]),
    );
    const wrong = (name: string, at: number, terms: readonly number[]) => {
      const truth = terms.reduce((x, y) => x + y, 0);
      const bound = 2 * (terms.length + 1) * 2 ** -24 * terms.reduce((x, y) => x + Math.abs(y), 0);
      return !(Math.abs(out.get(name)!.data[at]! - truth) <= bound);
    };
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++)
        if (
          wrong(
            'product',
            i * n + j,
            Array.from({ length: k }, (_, p) => a[i * k + p]! * b[p * n + j]!),
          )
        )
          return 'its matrix product is wrong';
    for (let j = 0; j < k; j++)
      if (
        wrong(
          'columns',
          j,
          Array.from({ length: m }, (_, i) => a[i * k + j]!),
        )
      )
        return 'its reduction is wrong';
    return undefined;
  } finally {
    plan.dispose();
  }
}
