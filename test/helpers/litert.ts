/**
 * LiteRT (TensorFlow Lite's runtime) in Node: the program by which TFLite files are judged.
 *
 * Its package is made for pages: it loads its code by `importScripts` and looks for globals of a worker, which are put
 * there for as long as it loads.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { runInThisContext } from 'node:vm';
import type { LiteRt } from '@litertjs/core';

const require = createRequire(import.meta.url);
let loading: Promise<LiteRt> | undefined;

async function load(): Promise<LiteRt> {
  const folder = join(dirname(require.resolve('@litertjs/core')), '..', 'wasm');
  const given: Record<string, unknown> = {
    self: globalThis,
    require,
    __dirname: folder,
    // It tells of all that it does; errors come as exceptions.
    Module: { print() {}, printErr() {} },
    importScripts(path: string) {
      runInThisContext(readFileSync(path, 'utf8'), { filename: path });
    },
  };
  const there = globalThis as Record<string, unknown>;
  const before = Object.fromEntries(Object.keys(given).map((k) => [k, Object.getOwnPropertyDescriptor(there, k)]));
  for (const [k, value] of Object.entries(given))
    Object.defineProperty(there, k, { value, configurable: true, writable: true });
  // There is no WebGPU, of which it warns.
  const { warn } = console;
  console.warn = () => {};
  try {
    const { loadLiteRt } = await import('@litertjs/core');
    return await loadLiteRt(`${folder}/`, {});
  } finally {
    console.warn = warn;
    for (const [k, descriptor] of Object.entries(before))
      if (descriptor) Object.defineProperty(there, k, descriptor);
      else delete there[k];
  }
}

export type Numbers = Float32Array | Int8Array | Uint8Array | Int32Array;
export interface LiteRtTensor {
  readonly data: Numbers;
  readonly shape: readonly number[];
}

/**
 * Runs a TFLite file on the inputs, in the order of the file. Outputs by name.
 * @param inputs as many arrays as the model has inputs, or several such lists to run one after the other
 */
export async function runLiteRt(
  model: Uint8Array,
  inputs: readonly LiteRtTensor[],
): Promise<Record<string, LiteRtTensor>> {
  const [made] = await runLiteRtBatch(model, [inputs]);
  return made!;
}

/** As `runLiteRt`, several times with one model. */
export async function runLiteRtBatch(
  model: Uint8Array,
  runs: readonly (readonly LiteRtTensor[])[],
): Promise<Record<string, LiteRtTensor>[]> {
  loading ??= load();
  await loading;
  const { loadAndCompile, Tensor } = await import('@litertjs/core');
  const compiled = await loadAndCompile(model, { accelerator: 'wasm' });
  try {
    const results: Record<string, LiteRtTensor>[] = [];
    for (const inputs of runs) {
      const tensors = inputs.map((t) => new Tensor(t.data as Float32Array<ArrayBuffer>, [...t.shape]));
      const outputs = await compiled.run(tensors);
      const names = compiled.getOutputDetails().map((d) => d.name);
      results.push(
        Object.fromEntries(
          outputs.map((t, i) => [
            names[i]!,
            { data: t.toTypedArray().slice() as Numbers, shape: [...t.type.layout.dimensions] },
          ]),
        ),
      );
      for (const t of [...tensors, ...outputs]) t.delete();
    }
    return results;
  } finally {
    compiled.delete();
  }
}
