/**
 * Whether wide mode is right and worth it on this machine: asked once per process, before the first wide device.
 *
 * A product with tails on every side must equal the narrow one to the bit and the f64 truth to rounding, and a larger
 * one must run clearly faster. V8's revectorizer is an experiment of theirs: a defect, or a machine without 256-bit
 * units, ends in narrow mode with the reason.
 */
import { fold, keyOf, normal } from '../core/random.ts';
import { host, tensor } from '../core/tensor.ts';
import { matmul } from '../ops/matmul.ts';
import { trace } from '../plan/trace.ts';
import type { Device } from './device.ts';
import type { WideVerdict } from './mode.ts';

/** Wide must be this much faster than narrow. */
const clearGain = 1.2;

async function product(device: Device, m: number, k: number, n: number) {
  const draw = (name: string, size: number) => normal(fold(keyOf(1), name), size);
  const a = draw('a', m * k);
  const b = draw('b', k * n);
  const plan = await device.compile(
    trace(({ a: x }) => matmul(x!, tensor(b, [k, n])), { a: { shape: [m, k], dtype: 'f32' } }, false),
  );
  const inputs = new Map([['a', host(a, [m, k]).data]]);
  return {
    a,
    b,
    run: async () => (await plan.run(inputs)).get('result')!.data as Float32Array,
    dispose: () => plan.dispose(),
  };
}

/** How many times as fast the first device is, by the best of many turns: until the gain is clear, or 100 turns. */
async function gainOf(devices: readonly [Device, Device]): Promise<number> {
  const products = await Promise.all(devices.map((d) => product(d, 96, 256, 256)));
  const best = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  // The first turns run in V8's baseline tier and say nothing.
  for (let turn = 0; turn < 100 && !(turn > 12 && best[1]! / best[0]! >= clearGain); turn++) {
    if (turn === 8) best.fill(Number.POSITIVE_INFINITY);
    for (const [i, p] of products.entries()) {
      const start = performance.now();
      await p.run();
      best[i] = Math.min(best[i]!, performance.now() - start);
    }
  }
  for (const p of products) p.dispose();
  return best[1]! / best[0]!;
}

/** Compares a wide with a narrow device. Both must run in place, on one thread. */
export async function checkWide(wide: Device, narrow: Device): Promise<WideVerdict> {
  const [m, k, n] = [61, 130, 77];
  const [p, q] = await Promise.all([product(wide, m, k, n), product(narrow, m, k, n)]);
  const [y, z] = [await p.run(), await q.run()];
  p.dispose();
  q.dispose();
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let truth = 0;
      let size = 0;
      for (let t = 0; t < k; t++) {
        const term = p.a[i * k + t]! * p.b[t * n + j]!;
        truth += term;
        size += Math.abs(term);
      }
      const got = y[i * n + j]!;
      // The bound of any order of summation: k roundings of the sum of magnitudes.
      if (got !== z[i * n + j] || !(Math.abs(got - truth) <= k * 2 ** -24 * size))
        return { good: false, reason: '128-bit: the self-test of 256-bit kernels failed in this V8' };
    }
  const gain = await gainOf([wide, narrow]);
  return gain >= clearGain
    ? { good: true, reason: `V8 pairs operations into 256 bits (${gain.toFixed(1)} times as fast in the self-test)` }
    : { good: false, reason: `128-bit: 256-bit kernels were only ${gain.toFixed(2)} times as fast in the self-test` };
}
