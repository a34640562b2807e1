/**
 * Probes of what one core can do: fused multiply-adds per second and bytes per second, as kernels like any other.
 *
 * The one idea: a share of the peak means something only if the peak was measured by the same engine, in the same
 * process, a moment before (Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009).
 */
import { defineKernel } from './kernel.ts';
import { f32x4, type Local, loadV128, type V128 } from './wasm.ts';

/** Independent chains: latency 4 × 2 a cycle = 8 at least; with operands they fit 16 registers. */
const chains = 12;

/** Floating-point operations per chunk and round of `fmaPeakKernel(width)`. */
export const fmaPeakFlops = (width: 128 | 256) => (chains * 2 * width) / 32;

/**
 * `rounds` times `chains` independent multiply-adds in registers. Width 256 works on pairs of adjacent vectors, which
 * wide mode fuses; width 128 places them so that it cannot. `buffer` holds 2 KiB.
 */
export const fmaPeakKernel = (width: 128 | 256) =>
  defineKernel({
    key: `fma_peak_${width}`,
    args: { buffer: 'i32', rounds: 'i32' },
    chunk(f, { buffer, rounds }) {
      const parts = width / 128;
      const at = (chain: number, part: number) => 256 + chain * 64 + part * 16;
      const acc = Array.from({ length: chains }, () => Array.from({ length: parts }, () => f.let(f32x4(0))));
      const x = Array.from({ length: parts }, (_, j) => f.let(loadV128(buffer, 16 * j)));
      const y = Array.from({ length: parts }, (_, j) => f.let(loadV128(buffer, 64 + 16 * j)));
      f.for(0, rounds, 1, () => {
        for (const row of acc)
          row.forEach((a, j) => {
            f.set(a, f.madd(x[j] as V128, y[j] as V128, a) as Local<V128>);
          });
      });
      acc.forEach((row, c) => {
        row.forEach((a, j) => {
          f.storeV128(buffer, a, at(c, j));
        });
      });
    },
  });

/** Copies `bytes` per chunk (a multiple of 64), pair by pair of vectors: 2·bytes of traffic, without the caches' fills. */
export const copyKernel = defineKernel({
  key: 'copy_64',
  args: { from: 'i32', to: 'i32', bytes: 'i32' },
  chunk(f, { from, to, bytes }, chunk) {
    const src = f.let(from.add(bytes.mul(chunk)));
    const dst = f.let(to.add(bytes.mul(chunk)));
    const end = f.let(src.add(bytes));
    f.while(src.ltU(end), () => {
      const v = [0, 1, 2, 3].map((j) => f.let(loadV128(src, 16 * j)));
      v.forEach((x, j) => {
        f.storeV128(dst, x, 16 * j);
      });
      f.inc(src, 64);
      f.inc(dst, 64);
    });
  },
});
