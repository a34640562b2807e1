/** onnxruntime as the judge of ONNX files: its WebAssembly build, on one thread. */
import * as ort from 'onnxruntime-web';

ort.env.wasm.numThreads = 1;
ort.env.logLevel = 'error';

export interface OrtTensor {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

/** Loads a model and gives what runs it. */
export async function openOnnx(bytes: Uint8Array): Promise<{
  run(inputs: Readonly<Record<string, OrtTensor>>): Promise<Record<string, OrtTensor>>;
  close(): Promise<void>;
}> {
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ['wasm'], logSeverityLevel: 3 });
  return {
    async run(inputs) {
      const given = Object.entries(inputs).map(
        ([name, t]) => [name, new ort.Tensor('float32', t.data, t.shape)] as const,
      );
      const found = await session.run(Object.fromEntries(given));
      return Object.fromEntries(
        Object.entries(found).map(([name, t]) => [name, { data: t.data as Float32Array, shape: t.dims }]),
      );
    },
    close: () => session.release(),
  };
}

/** Images [N, H, W, C] as [N, C, H, W]. */
export function planar(images: Float32Array, [n, h, w, c]: readonly [number, number, number, number]): OrtTensor {
  const out = new Float32Array(images.length);
  for (let b = 0; b < n; b++)
    for (let p = 0; p < h * w; p++)
      for (let k = 0; k < c; k++) out[(b * c + k) * h * w + p] = images[(b * h * w + p) * c + k]!;
  return { data: out, shape: [n, c, h, w] };
}
