/** onnxruntime: `--backend=web` (WebAssembly) or `--backend=node` (native), `--threads=n`. */
import { faces, mobileFaceNet } from './net.ts';
import { onnxModel } from './onnx.ts';
import { options, serve } from './serve.mjs';

const name = `onnxruntime-${options.backend}`;
const ort = await import(name);
const threads = Number(options.threads ?? 1);
const model = onnxModel(mobileFaceNet());
if (options.backend === 'web') ort.env.wasm.numThreads = threads;

const forward = (batch) => async () => {
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [options.backend === 'web' ? 'wasm' : 'cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const nhwc = faces(batch);
  const pixels = 112 * 112;
  const nchw = new Float32Array(nhwc.length);
  for (let n = 0; n < batch; n++)
    for (let i = 0; i < pixels; i++)
      for (let c = 0; c < 3; c++) nchw[(n * 3 + c) * pixels + i] = nhwc[(n * pixels + i) * 3 + c];
  const x = new ort.Tensor('float32', nchw, [batch, 3, 112, 112]);
  return async () => (await session.run({ x })).y.data;
};

await serve({
  engine: name,
  version: ort.env.versions.common,
  threads,
  works: { 'forward b1': forward(1), 'forward b32': forward(32) },
});
