/**
 * Other programs' models in a page: read from Blobs, each by the part of the bundle that its format needs, and used on WASM.
 * A small network of our own, exported here, goes in wherever the tests run; published ones where they are at hand.
 */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Detector } from '../../src/detect/detection.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf } from '../../src/evaluate/embedder.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { exportNetwork, exportTargetOf } from '../../src/weights/export.ts';
import { bytesSource, importModel } from '../../src/weights/import.ts';
import { retinaFaceBounds } from '../detect/bounds.ts';
import { heldToPhoto, photo, photosPresent } from '../detect/photos.ts';
import { bundle, launch, noBrowser, open, type Site, scriptPage, serve, type Tab } from '../helpers/browser.ts';
import { needBuild } from '../helpers/built.ts';
import { exercised } from '../helpers/exercised.ts';
import { farthest, goldenEmbeddings, published, publishedSource } from '../helpers/published.ts';
import { noiseImages, tinyNetwork } from '../helpers/tinyNetwork.ts';

const script = `
import { bytesSource, embedderOf, importModel, openDetector, WasmDevice } from 'facegrad';
const bytesOf = async (name) => new Uint8Array(await (await (await fetch('./' + name)).blob()).arrayBuffer());
const sourceOf = async ([name, ...others]) => bytesSource(name, await bytesOf(name),
  new Map(await Promise.all(others.map(async (other) => [other, await bytesOf(other)]))));
let device;
globalThis.embed = async (files, preprocessing, pixels, width, height, count) => {
  device ??= await WasmDevice.create({ threads: 2 });
  const { network, format, notes } = await importModel(await sourceOf(files), { preprocessing });
  const embedder = embedderOf(network, device, { owns: { network: true } });
  const data = await bytesOf(pixels);
  const size = width * height * 3;
  const images = Array.from({ length: count }, (_, i) => ({ width, height, data: data.subarray(i * size, (i + 1) * size) }));
  const rows = [...await embedder.embed(images)];
  await embedder.dispose();
  return { format, notes, rows };
};
globalThis.detect = async (files, pixels, width, height) => {
  device ??= await WasmDevice.create({ threads: 2 });
  const detector = await openDetector(await sourceOf(files), { device, score: 0.5 });
  const found = await detector.detect({ width, height, data: await bytesOf(pixels) });
  await detector.dispose();
  return found;
};
globalThis.refused = (name) => importModel(bytesSource(name, new Uint8Array(100).fill(7))).then(() => '', (e) => e.message);
globalThis.loaded = () => performance.getEntriesByType('resource').map((r) => new URL(r.name).pathname.slice(1));
globalThis.ready = true;`;

interface Embedded {
  format: string;
  notes: string[];
  rows: number[];
}

let browser: Browser;
let built: Awaited<ReturnType<typeof bundle>>;
const files = new Map<string, Uint8Array>();
let site: Site;
beforeAll(async () => {
  needBuild();
  if (noBrowser) return;
  built = await bundle(script);
  browser = await launch();
});
afterAll(async () => {
  await browser?.close();
  site?.close();
});

/** A page with these files beside it. */
async function page(): Promise<Tab> {
  site?.close();
  site = await serve(
    scriptPage(
      `import './${built.file}';`,
      new Map<string, string | Uint8Array>([[built.file, built.code], ...built.chunks, ...files]),
    ),
  );
  return open(browser, site);
}

/** Embeddings that a page makes of pixels, and which parts of the bundle it has loaded. */
async function embedIn(
  names: readonly string[],
  pixels: string,
  side: readonly [number, number],
  count: number,
  preprocessing?: object,
) {
  const tab = await page();
  const given = [names, preprocessing, pixels, side[1], side[0], count].map((x) => JSON.stringify(x) ?? 'undefined');
  const made = await tab.run<Embedded>(`embed(${given.join(', ')})`);
  const parts = (await tab.run<string[]>('loaded()')).flatMap((file) => built.later.get(file) ?? []);
  expect(tab.problems).toEqual([]);
  await tab.close();
  exercised('wasm in Chromium (imported models)');
  return { ...made, parts };
}

async function embedHere(network: FaceNetwork, images: Parameters<ReturnType<typeof embedderOf>['embed']>[0]) {
  const device = await WasmDevice.create({ threads: 1 });
  const embedder = embedderOf(network, device);
  const rows = await embedder.embed(images);
  await embedder.dispose();
  await device.dispose();
  return rows;
}

describe.skipIf(noBrowser)('a network of our own', () => {
  const network = tinyNetwork();
  const pictures = noiseImages(3);

  it.each([
    ['small.onnx', ['small.onnx'], /weights\/onnx\/graph/],
    ['small.tflite', ['small.tflite'], /weights\/tflite\/read/],
    ['small.param', ['small.param', 'small.bin'], /weights\/ncnn\/graph/],
    ['small.safetensors', ['small.safetensors'], /weights\/layouts\//],
  ])('comes back from %s', async (name, names, reader) => {
    const exported = await exportNetwork(network, exportTargetOf(undefined, name), { name });
    for (const file of exported.files) files.set(file.name, file.bytes);
    files.set('noise.rgb', Uint8Array.from(pictures.flatMap((p) => [...p.data])));
    const { rows, parts } = await embedIn(names, 'noise.rgb', [32, 32], 3, network.preprocessing);
    expect(rows.length).toBe(48);
    expect(farthest(rows, await embedHere(network, pictures), 16)).toBeLessThan(1e-4);
    // Its own reader came, and none of another format.
    expect(parts.some((m) => reader.test(m))).toBe(true);
    const readers =
      /weights\/(onnx\/graph|tflite\/read|ncnn\/graph|keras\/read|mxnet\/graph|torch\/containers|tensorflow\/importGraph)/;
    expect(parts.filter((m) => readers.test(m) && !reader.test(m))).toEqual([]);
  });

  it('bytes of no format are refused by name', async () => {
    const tab = await page();
    expect(await tab.run<string>(`refused('face.dat')`)).toMatch(
      /^face\.dat: expected a model of a format that is known/,
    );
    expect(await tab.run<string>(`refused('face.onnx')`)).toMatch(/^face\.onnx: /);
    await tab.close();
  });
});

describe.skipIf(noBrowser || !published)('published networks', () => {
  const count = 4;
  const at = async (folder: string, ...names: string[]) => {
    const source = publishedSource(folder, names[0]!);
    files.set(names[0]!, await source.bytes());
    for (const other of names.slice(1)) files.set(other, (await source.beside(other))!);
  };
  const imagenet = { colourOrder: 'RGB', mean: [123.675, 116.28, 103.53], scale: [1 / 58.395, 1 / 57.12, 1 / 57.375] };

  it.each([
    ['foamliu', ['MobileFaceNet.onnx'], imagenet],
    ['foamliu', ['mobilefacenet.pt'], undefined],
    ['insightface-y1', ['mobilefacenet.param', 'mobilefacenet.bin'], undefined],
    ['insightface-y1', ['model-0000.params', 'model-symbol.json'], undefined],
  ])('%s from %j gives the golden embeddings', async (folder, names, preprocessing) => {
    await at(folder, ...names);
    const { pixels, all } = goldenEmbeddings(folder);
    files.set('crops.rgb', pixels.subarray(0, count * 112 * 112 * 3));
    const { rows } = await embedIn(names, 'crops.rgb', [112, 112], count, preprocessing);
    expect(farthest(rows, all)).toBeLessThan(1e-4);
  });

  it('xiaoccer from its .ckpt and from a .tflite made of it', async () => {
    await at('xiaoccer', '068.ckpt');
    const { pixels, all } = goldenEmbeddings('xiaoccer');
    // Columns 8 to 103 of the crops.
    const narrow = new Uint8Array(count * 112 * 96 * 3);
    for (let row = 0; row < count * 112; row++)
      narrow.set(pixels.subarray((row * 112 + 8) * 3, (row * 112 + 104) * 3), row * 96 * 3);
    files.set('crops.rgb', narrow);
    const { network } = await importModel(bytesSource('068.ckpt', files.get('068.ckpt')!));
    const { files: made } = await exportNetwork(network, exportTargetOf('tflite', 'x.tflite'), { name: 'x.tflite' });
    files.set('x.tflite', made[0]!.bytes);
    for (const [name, preprocessing] of [
      ['068.ckpt', undefined],
      ['x.tflite', network.preprocessing],
    ] as const) {
      const { rows } = await embedIn([name], 'crops.rgb', [112, 96], count, preprocessing);
      expect(farthest(rows, all), name).toBeLessThan(1e-4);
    }
  });

  it.skipIf(!photosPresent)('RetinaFace gives its reference detections of a photograph', async () => {
    const name = 'compreface/009_C.jpg';
    files.set('photo.rgb', photo(name).data);
    await at('retinaface-mobile0.25', 'mobilenet0.25_Final.pth');
    const { network } = await importModel(publishedSource('retinaface-mobile0.25', 'mobilenet0.25_Final.pth'));
    const tab = await page();
    const detector: Detector = {
      kind: 'retinaface',
      options: {},
      detect: ({ width, height }) => tab.run(`detect(['mobilenet0.25_Final.pth'], 'photo.rgb', ${width}, ${height})`),
      dispose: () => tab.close(),
    };
    await heldToPhoto(detector, name, 'retinaface', 0.5, await retinaFaceBounds(network));
    expect(tab.problems).toEqual([]);
    await detector.dispose();
  });
});
