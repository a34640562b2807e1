/** gpu.js (a development dependency of the repository): `--mode=cpu`, or `--mode=webasm` with `--threads=n`. */
import { createRequire } from 'node:module';
import { matrices } from './net.ts';
import { options, serve } from './serve.mjs';

const require = createRequire(new URL('../../package.json', import.meta.url));
const { GPU, input } = require('gpu.js');
const threads = options.mode === 'webasm' ? Number(options.threads ?? 1) : 1;

const matmul = (n) => async () => {
  const gpu = new GPU({ mode: options.mode });
  const kernel = gpu
    .createKernel(function (a, b) {
      let sum = 0;
      for (let k = 0; k < this.constants.n; k++) sum += a[this.thread.y][k] * b[k][this.thread.x];
      return sum;
    })
    .setConstants({ n })
    .setOutput([n, n])
    .setPrecision('single');
  // Threads engage under the asynchronous contract only.
  if (threads > 1) kernel.setAsyncMode(true).setPoolSize?.(threads);
  const [a, b] = matrices(n).map((m) => input(m, [n, n]));
  return async () => {
    const rows = await kernel(a, b);
    const y = new Float32Array(n * n);
    rows.forEach((row, i) => {
      y.set(row, i * n);
    });
    return y;
  };
};

await serve({
  engine: `gpu.js ${options.mode}`,
  version: require('gpu.js/package.json').version,
  threads,
  works: { 'matmul 512': matmul(512) },
});
