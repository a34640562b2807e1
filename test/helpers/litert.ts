/** LiteRT (TensorFlow Lite's runtime) in Node: the program by which TFLite files are judged. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { LiteRt } from '@litertjs/core';
import { asWorker } from '../../src/cli/judges.ts';

const require = createRequire(import.meta.url);
let loading: Promise<LiteRt> | undefined;

async function load(): Promise<LiteRt> {
  const folder = join(dirname(require.resolve('@litertjs/core')), '..', 'wasm');
  return asWorker(folder, async () => (await import('@litertjs/core')).loadLiteRt(`${folder}/`, {}));
}

export type Numbers = Float32Array | Int8Array | Uint8Array | Int32Array;
export interface LiteRtTensor {
  readonly data: Numbers;
  readonly shape: readonly number[];
}

/** Arrays of LiteRT's element types by number. */
const arrays: Readonly<Record<number, (bytes: ArrayBuffer) => Numbers>> = {
  1: (b) => new Float32Array(b),
  2: (b) => new Int32Array(b),
  3: (b) => new Uint8Array(b),
  9: (b) => new Int8Array(b),
};
interface List {
  size(): number;
  // biome-ignore lint/suspicious/noExplicitAny: a list of anything
  get(i: number): any;
}
const listed = <T>(list: List): T[] => Array.from({ length: list.size() }, (_, i) => list.get(i) as T);

/**
 * Runs a TFLite file on the inputs, in the order of the file. Outputs by name.
 * @param runs of one model, one after the other
 */
export async function runLiteRtBatch(
  model: Uint8Array,
  runs: readonly (readonly LiteRtTensor[])[],
): Promise<Record<string, LiteRtTensor>[]> {
  loading ??= load();
  const runtime = await loading;
  // What the package wraps its bindings in does not take int8.
  const wasm = runtime.liteRtWasm as typeof runtime.liteRtWasm & {
    HEAPU8: Uint8Array;
    _malloc(n: number): number;
    _free(at: number): void;
  };
  const environment = runtime.getDefaultEnvironment().liteRtEnvironment;
  const at = wasm._malloc(model.length);
  wasm.HEAPU8.set(model, at);
  const loaded = wasm.loadModel(environment, at, model.length);
  const options = {
    environment: runtime.getDefaultEnvironment(),
    accelerator: 'wasm' as const,
    cpuOptions: { numThreads: 1 },
  };
  const compiled = await wasm.compileModel(environment, loaded, options);
  const names = listed<string>(loaded.getSignature(0).outputNames());
  const results: Record<string, LiteRtTensor>[] = [];
  for (const inputs of runs) {
    const buffers = inputs.map(({ data, shape }, i) => {
      const type = loaded.getInputTensorType(0, i);
      const expected = [...listed<number>(type.layout().dimensions()), type.bytes()];
      if (`${expected}` !== `${[...shape, data.byteLength]}`)
        throw new Error(`LiteRT: expected an input of sizes and bytes ${expected}, got ${[...shape, data.byteLength]}`);
      const buffer = wasm.LiteRtTensorBuffer.createManaged(
        environment,
        wasm.LiteRtTensorBufferType.HOST_MEMORY,
        type,
        data.byteLength,
      );
      const to = buffer.lock(wasm.LiteRtTensorBufferLockMode.WRITE);
      wasm.HEAPU8.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), to);
      buffer.unlock();
      return buffer;
    });
    const outputs = await compiled.run(0, buffers);
    results.push(
      Object.fromEntries(
        outputs.map((buffer, i) => {
          const type = buffer.tensorType();
          const from = buffer.lock(wasm.LiteRtTensorBufferLockMode.READ);
          const bytes = wasm.HEAPU8.slice(from, from + buffer.packedSize());
          buffer.unlock();
          const shape = listed<number>(type.layout().dimensions());
          return [names[i]!, { data: arrays[type.elementType().value]!(bytes.buffer), shape }];
        }),
      ),
    );
    for (const buffer of [...buffers, ...outputs]) buffer.delete();
  }
  compiled.delete();
  loaded.delete();
  wasm._free(at);
  return results;
}

/** As `runLiteRtBatch`, once. */
export async function runLiteRt(
  model: Uint8Array,
  inputs: readonly LiteRtTensor[],
): Promise<Record<string, LiteRtTensor>> {
  const [made] = await runLiteRtBatch(model, [inputs]);
  return made!;
}
