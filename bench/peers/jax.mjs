/** jax-js on its WebAssembly backend (one thread in Node). Arrays are consumed by use: `.ref` keeps one alive. */
import { readFileSync } from 'node:fs';
import { defaultDevice, init, jit, lax, numpy as np } from '@jax-js/jax';
import { faces, matrices, mobileFaceNet } from './net.ts';
import { outputFirst } from './onnx.ts';
import { serve } from './serve.mjs';

await init('wasm');
defaultDevice('wasm');
const array = (data, shape) => np.array(data, { shape, dtype: np.float32 });

const forward = (batch) => async () => {
  const layers = mobileFaceNet();
  const parameters = layers.map((l) => {
    const { dims, data } = outputFirst(l);
    const p = { weight: array(data, dims), bias: array(l.bias, [1, l.cout, 1, 1]) };
    return l.slope ? { ...p, slope: array(l.slope, [1, l.cout, 1, 1]) } : p;
  });
  const f = jit((x, ps) => {
    let at = x.transpose([0, 3, 1, 2]);
    let kept;
    layers.forEach((l, i) => {
      if (l.opens) kept = at.ref;
      const pad = [
        [l.pad, l.pad],
        [l.pad, l.pad],
      ];
      const groups = { featureGroupCount: l.depthwise ? l.cin : 1 };
      at = lax.convGeneralDilated(at, ps[i].weight, [l.stride, l.stride], pad, groups).add(ps[i].bias);
      if (l.slope) at = np.maximum(at.ref, 0).add(np.minimum(at, 0).mul(ps[i].slope));
      if (l.add) at = at.add(kept);
    });
    return at;
  });
  const x = array(faces(batch), [batch, 112, 112, 3]);
  const again = () => parameters.map((p) => Object.fromEntries(Object.entries(p).map(([k, v]) => [k, v.ref])));
  return async () => f(x.ref, again()).data();
};

const matmul = (n) => async () => {
  const [a, b] = matrices(n).map((m) => array(m, [n, n]));
  return async () => np.matmul(a.ref, b.ref).data();
};

const { version } = JSON.parse(readFileSync(new URL('node_modules/@jax-js/jax/package.json', import.meta.url), 'utf8'));
await serve({ engine: 'jax-js', version, threads: 1, works: { 'forward b1': forward(1), 'matmul 512': matmul(512) } });
