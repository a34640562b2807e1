/** TensorFlow.js core: `--backend=wasm` (XNNPACK, one thread in Node) or `--backend=cpu` (plain JavaScript). */
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { faces, matrices, mobileFaceNet } from './net.ts';
import { options, serve } from './serve.mjs';

const require = createRequire(import.meta.url);
const tf = require('@tensorflow/tfjs-core');
if (options.backend === 'wasm') {
  const wasm = require('@tensorflow/tfjs-backend-wasm');
  wasm.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
} else require('@tensorflow/tfjs-backend-cpu');
await tf.setBackend(options.backend);
await tf.ready();

const forward = (batch) => async () => {
  const layers = mobileFaceNet().map((l) => ({
    ...l,
    filter: tf.tensor4d(l.weight, l.depthwise ? [l.k, l.k, l.cin, 1] : [l.k, l.k, l.cin, l.cout]),
    offset: tf.tensor1d(l.bias),
    alpha: l.slope && tf.tensor3d(l.slope, [1, 1, l.cout]),
  }));
  const x = tf.tensor4d(faces(batch), [batch, 112, 112, 3]);
  return async () => {
    const y = tf.tidy(() => {
      let at = x;
      let kept = x;
      for (const l of layers) {
        if (l.opens) kept = at;
        const conv = l.depthwise ? tf.fused.depthwiseConv2d : tf.fused.conv2d;
        at = conv({
          x: at,
          filter: l.filter,
          strides: l.stride,
          pad: l.pad,
          dataFormat: 'NHWC',
          dilations: [1, 1],
          bias: l.offset,
          activation: l.alpha ? 'prelu' : 'linear',
          preluActivationWeights: l.alpha,
        });
        if (l.add) at = tf.add(at, kept);
      }
      return at;
    });
    const data = await y.data();
    y.dispose();
    return data;
  };
};

const matmul = (n) => async () => {
  const [a, b] = matrices(n).map((m) => tf.tensor2d(m, [n, n]));
  return async () => {
    const y = tf.matMul(a, b);
    const data = await y.data();
    y.dispose();
    return data;
  };
};

await serve({
  engine: `tfjs-${options.backend}`,
  version: tf.version_core,
  threads: 1,
  works: { 'forward b1': forward(1), 'forward b32': forward(32), 'matmul 512': matmul(512) },
});
