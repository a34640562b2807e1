/**
 * Other programs that run what was exported, where they are installed: they are no dependencies, and are looked for when an
 * export is to be verified.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { runInThisContext } from 'node:vm';
import type { ExportContext, ExportFile } from '../weights/export.ts';
import { takenBy } from '../weights/exports/target.ts';

/** Pictures as RGB bytes [n, H, W, 3]. */
export interface Pixels {
  readonly data: Uint8Array;
  readonly shape: readonly [number, number, number, number];
}
interface Judgement {
  /** The program with its version. */
  readonly by: string;
  /** [n, d] */
  readonly embeddings: Float32Array;
}
/** Gives undefined where the program is not installed. */
type Judge = (files: readonly ExportFile[], context: ExportContext, pixels: Pixels) => Promise<Judgement | undefined>;

const require = createRequire(import.meta.url);
function installed(name: string): string | undefined {
  try {
    return require.resolve(name);
  } catch {
    return undefined;
  }
}
/** The version in the package.json of the folder that a file of the package is in. */
function versionOf(file: string): string {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder))
    try {
      const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
      if (version) return version;
    } catch {}
  return '';
}

/** Pixels as the files take them, channels first or last. */
function prepared({ data, shape }: Pixels, context: ExportContext, planar: boolean): Float32Array {
  const { colourOrder, mean, scale } = takenBy(context);
  const of = (x: typeof mean, c: number) => (typeof x === 'number' ? x : x[c]!);
  const [n, h, w] = shape;
  const out = new Float32Array(data.length);
  for (let b = 0; b < n; b++)
    for (let p = 0; p < h * w; p++)
      for (let c = 0; c < 3; c++) {
        const x = data[(b * h * w + p) * 3 + (colourOrder === 'BGR' ? 2 - c : c)]!;
        out[planar ? (b * 3 + c) * h * w + p : (b * h * w + p) * 3 + c] = (x - of(mean, c)) * of(scale, c);
      }
  return out;
}

/** What of onnxruntime's packages is used here. */
interface Onnxruntime {
  readonly env: { wasm: { numThreads: number }; logLevel: string; versions: { common: string } };
  readonly Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => { data: Float32Array };
  readonly InferenceSession: {
    create(bytes: Uint8Array): Promise<{
      readonly inputNames: readonly string[];
      readonly outputNames: readonly string[];
      run(inputs: Record<string, unknown>): Promise<Record<string, { data: Float32Array }>>;
    }>;
  };
}

const onnxruntime: Judge = async ([model], context, pixels) => {
  const name = ['onnxruntime-node', 'onnxruntime-web'].find(installed);
  if (!name) return undefined;
  const ort = (await import(name)) as Onnxruntime;
  ort.env.logLevel = 'error';
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(model!.bytes);
  const [n, h, w] = pixels.shape;
  const d = context.network.options.embeddingSize;
  const { batch } = context.graph.spec;
  const values = prepared(pixels, context, true);
  const embeddings = new Float32Array(n * d);
  const each = batch ?? n;
  for (let from = 0; from + each <= n; from += each) {
    const input = new ort.Tensor('float32', values.slice(from * 3 * h * w, (from + each) * 3 * h * w), [each, 3, h, w]);
    const found = await session.run({ [session.inputNames[0]!]: input });
    embeddings.set(found[session.outputNames[0]!]!.data.subarray(0, each * d), from * d);
  }
  return { by: `${name} ${ort.env.versions.common}`, embeddings };
};

/** What of LiteRT's package is used here. */
interface LiteRt {
  loadLiteRt(folder: string, options: object): Promise<unknown>;
  loadAndCompile(
    bytes: Uint8Array,
    options: { accelerator: 'wasm' },
  ): Promise<{ run(inputs: readonly unknown[]): Promise<{ toTypedArray(): Float32Array }[]> }>;
  readonly Tensor: new (data: Float32Array, shape: readonly number[]) => unknown;
}

/**
 * Runs `work` with what LiteRT's package looks for while it loads: it is made for pages, takes its code by `importScripts` and
 * expects the globals of a worker.
 * @param folder of its WASM files
 */
export async function asWorker<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const given: Record<string, unknown> = {
    self: globalThis,
    require,
    __dirname: folder,
    // It tells of all that it does; errors come as exceptions.
    Module: { print() {}, printErr() {} },
    importScripts: (path: string) => runInThisContext(readFileSync(path, 'utf8'), { filename: path }),
  };
  // There is no WebGPU, of which it warns.
  const { warn } = console;
  console.warn = () => {};
  const before = Object.keys(given).map((k) => [k, Object.getOwnPropertyDescriptor(globalThis, k)] as const);
  for (const [k, value] of Object.entries(given))
    Object.defineProperty(globalThis, k, { value, configurable: true, writable: true });
  try {
    return await work();
  } finally {
    console.warn = warn;
    for (const [k, descriptor] of before)
      if (descriptor) Object.defineProperty(globalThis, k, descriptor);
      else delete (globalThis as Record<string, unknown>)[k];
  }
}

const litert: Judge = async ([model], context, pixels) => {
  const name = '@litertjs/core';
  const file = installed(name);
  if (!file) return undefined;
  const folder = join(dirname(file), '..', 'wasm');
  const lite = await asWorker(folder, async () => {
    const found = (await import(name)) as LiteRt;
    await found.loadLiteRt(`${folder}/`, {});
    return found;
  });
  const compiled = await lite.loadAndCompile(model!.bytes, { accelerator: 'wasm' });
  const [n, h, w] = pixels.shape;
  const values = prepared(pixels, context, false);
  const rows: Float32Array[] = [];
  // One at a time: a file may be of a fixed batch.
  for (let i = 0; i < n; i++) {
    const input = new lite.Tensor(values.slice(i * h * w * 3, (i + 1) * h * w * 3), [1, h, w, 3]);
    const [found] = await compiled.run([input]);
    rows.push(found!.toTypedArray().slice());
  }
  return {
    by: `LiteRT (${name} ${versionOf(file)})`,
    embeddings: Float32Array.from(rows.flatMap((row) => [...row])),
  };
};

/** By the target's name, and what to install to have it. */
export const judges: Readonly<Record<string, { readonly judge: Judge; readonly install: string }>> = {
  onnx: { judge: onnxruntime, install: 'onnxruntime-node' },
  tflite: { judge: litert, install: '@litertjs/core' },
  k210: { judge: litert, install: '@litertjs/core' },
  'tflite-int8': { judge: litert, install: '@litertjs/core' },
};
