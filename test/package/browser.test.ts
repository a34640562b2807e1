/**
 * The browser entry: a bundler finds no Node module behind it and keeps only what is used, and the bundle trains in a real
 * page, on threads where the page is cross-origin isolated and in unshared memory where it is not.
 */
import { basename } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { WasmOptions } from '../../src/device/wasm.ts';
import { type Bundle, bundle, launch, noBrowser, open, type Site, scriptPage, serve } from '../helpers/browser.ts';
import { needBuild } from '../helpers/built.ts';
import { exercised } from '../helpers/exercised.ts';

beforeAll(needBuild);

const zipped = (code: string) => gzipSync(code, { level: 9 }).length;
/** What a page pays before anything is asked of it. */
const loaded = (b: Bundle) => b.first.reduce((n, code) => n + zipped(code), 0);

it('bundles for the browser without Node modules, and only what is used', async () => {
  const all = await bundle(`export * from 'facegrad';`);
  const train = await bundle(`export { MobileFaceNet, compile } from 'facegrad';`);
  const margin = await bundle(`export { MobileFaceNet, ArcFace, compile } from 'facegrad';`);
  const embed = await bundle(`export { loadEmbedder } from 'facegrad';`);
  const errors = await bundle(`export { ShapeError } from 'facegrad';`);
  // What few pages need is loaded when a file or a call asks for it; without that there is one file.
  for (const b of [train, margin, errors]) expect(b.imports).toEqual([]);
  expect(
    [...embed.later.values()]
      .flat()
      .filter((m) => /src\/(weights\/(layouts|import|export|formats)|detect|models\/detectors)/.test(m)),
  ).toEqual([]);
  expect(embed.modules.filter((m) => /src\/models\/graph\/|src\/quant\/|valibot/.test(m))).toEqual([]);
  for (const b of [all, train, margin, embed, errors]) {
    // The one mention of a Node module is a look-up at run time, behind a check for Node.
    for (const code of [b.code, ...b.chunks.values()]) {
      expect(code).not.toMatch(/(from|import\()\s*["'`]node:/);
      expect(code).not.toMatch(/\brequire\(["'`](?!node:worker_threads)/);
    }
  }
  expect(train.modules.some((m) => m.includes('evaluate/') || m.includes('weights/') || m.includes('optim/'))).toBe(
    false,
  );
  // One network and one loss bring no others along; a network by name brings every network and no loss.
  const kinds = (b: Bundle) => b.modules.filter((m) => /src\/(models|heads)\//.test(m)).map((m) => basename(m, '.js'));
  expect(kinds(margin).sort()).toEqual(['arcFace', 'head', 'loss', 'mobileFaceNet', 'network', 'partialFc']);
  expect(embed.modules.filter((m) => /src\/(heads|optim|train)\//.test(m))).toEqual([]);
  expect(errors.modules.filter((m) => !/^dist\/src\/core\/(errors|printable)\.js$/.test(m))).toEqual([]);
  const sizes = { all, train, margin, embed, errors };
  console.log(`gzip: ${Object.entries(sizes).map(([name, b]) => `${name} ${loaded(b)}`)}`);
  // Measured: 67.0, 75.8 (Partial FC's sampling is 6 of them) and 115.8 kB, the ops' WGSL included. An image decoder more,
  // the command line or a framework would not fit.
  expect(loaded(train)).toBeLessThan(70_000);
  expect(loaded(margin)).toBeLessThan(80_000);
  expect(loaded(embed)).toBeLessThan(120_000);
  expect(loaded(errors)).toBeLessThan(1000);
});

/** What reads and writes other programs' files, and the libraries that only these need. */
const heavy =
  /src\/weights\/(torch|mxnet|ncnn|mtcnn|keras|tensorflow|tflite|onnx|layouts)\/(?!(checkpoint|frozenGraph|tfjs)\.js$)|weights\/(pickle|npy|npz|zip)|src\/quant\/|node_modules\/(jsfive|flatbuffers|@bufbuild|@zip\.js)/;

// Measured: 72.8, 128.0 and 96.6 kB; ONNX's reader 23.6.
it.each([
  ['{ importModel, bytesSource }', 78_000],
  ['{ openDetector }', 131_000],
  ['{ exportNetwork, exportTargets }', 103_000],
])('a bundle of %s has at most %i bytes, and no format until a file of it comes', async (names, most) => {
  const b = await bundle(`export ${names} from 'facegrad';`);
  console.log(`gzip: ${names} ${loaded(b)}`);
  expect(loaded(b)).toBeLessThan(most);
  expect(b.modules.filter((m) => heavy.test(m))).toEqual([]);
  for (const library of ['jsfive', 'flatbuffers', '@bufbuild', '@zip.js'])
    expect([...b.later.values()].flat().filter((m) => m.includes(library)).length, library).toBeGreaterThan(0);
});

it('a page that imports an ONNX file loads its reader alone', async () => {
  const b = await bundle(`export { importModel } from 'facegrad';`);
  const holds = (m: string) => [...b.later].filter(([, modules]) => modules.some((id) => id.includes(m)));
  const [[name] = ['']] = holds('weights/onnx/graph.js');
  // The reader, and what it imports in turn.
  const needed = new Set([name]);
  for (const file of needed)
    for (const other of b.later.keys()) if (b.chunks.get(file)!.includes(`from"./${other}"`)) needed.add(other);
  const modules = [...needed].flatMap((file) => b.later.get(file)!);
  const bytes = [...needed].reduce((n, file) => n + zipped(b.chunks.get(file)!), 0);
  console.log(`gzip: ONNX's reader ${bytes}`);
  expect(modules.filter((m) => heavy.test(m) && !/weights\/onnx\/|@bufbuild/.test(m))).toEqual([]);
  expect(bytes).toBeLessThan(26_000);
});

// Measured: 67.8 kB for everything, and 52.9 kB that come with the first archive.
it.each([
  ['*', 80_000],
  ['{ recordIODataset, openImage }', 32_000],
  ['{ openImage }', 28_000],
  ['{ decodeImage }', 20_000],
  ['{ tfRecordDataset }', 11_000],
  ['{ verificationBinDataset }', 8000],
  ['{ recordIODataset }', 6500],
  ['{ packedDataset }', 5500],
  ['{ recordIOWriter }', 4000],
  ['{ packedWriter }', 4000],
  ['{ openNpz }', 6000],
  ['{ parsePairs }', 3500],
  ['{ openFeatures }', 1500],
])('facegrad/data: a bundle of %s has at most %i bytes', async (names, most) => {
  const { code, chunks, imports, modules } = await bundle(`export ${names} from 'facegrad/data';`);
  expect(imports.filter((name) => !name.startsWith('zip-'))).toEqual([]);
  expect(code).not.toMatch(/(from|import\()\s*["'`]node:/);
  expect(modules.filter((m) => /dist\/(native|kernels|src\/(ops|plan|device|expr|nn))\//.test(m))).toEqual([]);
  const later = [...chunks.values()].reduce((n, c) => n + zipped(c), 0);
  console.log(`gzip: facegrad/data ${names} ${zipped(code)} bytes${later > 0 ? `, later ${later}` : ''}`);
  expect(zipped(code)).toBeLessThan(most);
  expect(later).toBeLessThan(60_000);
});

const page = `
import { ArcFace, compile, fold, grad, host, initialize, keyOf, MobileFaceNet, parametersOf, preprocess, sgd, uniform, WasmDevice } from 'facegrad';
globalThis.train = async (options) => {
  const device = await WasmDevice.create(options);
  const net = initialize(new MobileFaceNet({ width: 0.125, embeddingSize: 16, inputSize: [32, 32] }), 1);
  const head = initialize(new ArcFace({ classes: 3, embeddingSize: 16, s: 16, m: 0.2 }), 2);
  const parameters = [...parametersOf(net), ...parametersOf(head)];
  const optimizer = sgd(parameters, { nesterov: true });
  const step = compile(({ images, labels, lr }, ctx) => {
    const { loss } = head.loss(net.call(preprocess(images, net.preprocessing), ctx), labels, ctx);
    optimizer.update(grad(loss, parameters), lr, ctx);
    return { loss };
  }, { device, training: true });
  const images = host(Uint8Array.from(uniform(fold(keyOf(7), 'images'), 6 * 32 * 32 * 3), (u) => u * 256), [6, 32, 32, 3]);
  const labels = host(Int32Array.of(0, 1, 2, 0, 1, 2), [6]);
  const losses = [];
  for (let i = 0; i < 3; i++) losses.push((await step({ images, labels, lr: 0.05 })).loss.data[0]);
  const { threads, simd, reason } = device.info();
  await device.dispose();
  return { losses, threads, simd, reason, isolated: crossOriginIsolated };
};
globalThis.ready = true;`;

let browser: Browser;
let sites: Record<'isolated' | 'plain', Site>;
beforeAll(async () => {
  if (noBrowser) return;
  const files = scriptPage((await bundle(page)).code);
  sites = { isolated: await serve(files), plain: await serve(files, { isolated: false }) };
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  for (const site of Object.values(sites ?? {})) site.close();
});

interface Trained {
  losses: number[];
  threads: number;
  simd: string;
  reason: string;
  isolated: boolean;
}
async function trainIn(mode: 'isolated' | 'plain', options: WasmOptions): Promise<Trained> {
  const tab = await open(browser, sites[mode]);
  const result = await tab.run<Trained>(`train(${JSON.stringify(options)})`);
  expect(tab.problems).toEqual([]);
  await tab.close();
  exercised(`wasm in Chromium (${result.simd})`);
  return result;
}

it.skipIf(noBrowser)(
  'trains in a page: threads where it is isolated, unshared memory where it is not, the same losses',
  async () => {
    const threaded = await trainIn('isolated', { threads: 2 });
    expect(threaded).toMatchObject({ isolated: true, threads: 2, simd: 'narrow-relaxed-shared' });
    const alone = await trainIn('plain', { threads: 2 });
    expect(alone).toMatchObject({ isolated: false, threads: 1, simd: 'narrow-relaxed-single' });
    expect(alone.reason).toContain('cross-origin isolated');
    expect(threaded.losses.every(Number.isFinite)).toBe(true);
    expect(threaded.losses[2]).toBeLessThan(threaded.losses[0]!);
    expect(alone.losses).toEqual(threaded.losses);

    // And in this process: one program, one result.
    const strict = await trainIn('isolated', { threads: 1, relaxed: false });
    expect(strict.simd).toBe('narrow-strict-shared');
    expect(strict.losses[0]).toBeCloseTo(threaded.losses[0]!, 4);
  },
);
