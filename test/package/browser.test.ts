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

it('bundles for the browser without Node modules, and only what is used', async () => {
  const all = await bundle(`export * from 'facegrad';`);
  const train = await bundle(`export { MobileFaceNet, compile } from 'facegrad';`);
  const margin = await bundle(`export { MobileFaceNet, ArcFace, compile } from 'facegrad';`);
  const embed = await bundle(`export { loadEmbedder } from 'facegrad';`);
  const errors = await bundle(`export { ShapeError } from 'facegrad';`);
  // Archives bring their library along when the first one is opened.
  expect(all.imports.filter((name) => !name.startsWith('zip-'))).toEqual([]);
  expect([...train.imports, ...margin.imports, ...embed.imports, ...errors.imports]).toEqual([]);
  for (const b of [all, train, margin, embed, errors]) {
    // The one mention of a Node module is a look-up at run time, behind a check for Node.
    expect(b.code).not.toMatch(/(from|import\()\s*["'`]node:/);
    expect(b.code).not.toMatch(/\brequire\(["'`](?!node:worker_threads)/);
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
  console.log(`gzip: ${Object.entries(sizes).map(([name, b]) => `${name} ${zipped(b.code)}`)}`);
  // Measured: 67.0, 75.7 (Partial FC's sampling is 6 of them) and 113.7 kB, the ops' WGSL included. An image decoder more,
  // the command line or a framework would not fit.
  expect(zipped(train.code)).toBeLessThan(70_000);
  expect(zipped(margin.code)).toBeLessThan(80_000);
  expect(zipped(embed.code)).toBeLessThan(120_000);
  expect(zipped(errors.code)).toBeLessThan(1000);
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
