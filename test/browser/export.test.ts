/**
 * A model exported as one file, in a real browser: it fetches nothing and gives the embeddings that are computed here, as a
 * module and as a page opened from disk.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WasmDevice } from '../../src/device/wasm.ts';
import { embedderOf } from '../../src/evaluate/embedder.ts';
import { encodePng } from '../../src/image/encode.ts';
import { exportNetwork } from '../../src/weights/export.ts';
import { browserTarget, htmlTarget } from '../../src/weights/exports/browser.ts';
import { launch, noBrowser, open, scriptPage, serve } from '../helpers/browser.ts';
import { needBuild, root } from '../helpers/built.ts';
import { noiseImages, tinyNetwork } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-export-'));
afterAll(() => rmSync(folder, { recursive: true }));
const engine = async () => readFileSync(join(root, 'dist/src/web/engine.js'), 'utf8');
const network = tinyNetwork();
const pictures = noiseImages(3);
const threshold = { cosine: 0.25, from: 'chosen on <b>three</b> pictures' };

async function here(): Promise<Float32Array[]> {
  const device = await WasmDevice.create({ threads: 1 });
  const embedder = embedderOf(network, device);
  const rows = await embedder.embed(pictures);
  await embedder.dispose();
  await device.dispose();
  return [0, 1, 2].map((i) => rows.slice(i * 16, i * 16 + 16));
}
const cosine = (a: Float32Array, b: Float32Array) => {
  const dot = (p: Float32Array, q: Float32Array) => p.reduce((s, x, i) => s + x * q[i]!, 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};

let browser: Browser;
beforeAll(async () => {
  needBuild();
  if (!noBrowser) browser = await launch();
});
afterAll(() => browser?.close());

it('is small: the engine, and the weights as text', async () => {
  const code = await engine();
  console.log(`engine: ${code.length} bytes, ${gzipSync(code, { level: 9 }).length} zipped`);
  // Measured: 336 kB, 120 kB zipped.
  expect(gzipSync(code, { level: 9 }).length).toBeLessThan(130_000);
  const full = (await exportNetwork(network, browserTarget, { name: 'm.js', engine })).files[0]!.bytes.length;
  const half = (await exportNetwork(network, browserTarget, { name: 'm.js', engine, half: true })).files[0]!.bytes
    .length;
  expect(half).toBeLessThan(full);
});

describe.skipIf(noBrowser)('a module', () => {
  it.each([true, false])('embeds, isolated: %s', async (isolated) => {
    const { files } = await exportNetwork(network, browserTarget, { name: 'model.js', engine, threshold });
    const script = `import { embed, info, open, similarity } from './model.js';
      const pictures = ${JSON.stringify(pictures.map((p) => [...p.data]))}.map((rgb) => {
        const image = new ImageData(32, 32);
        for (let i = 0; i < 1024; i++) image.data.set([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255], 4 * i);
        return image;
      });
      const model = await open({ device: 'wasm' });
      const rows = await embed(pictures);
      const one = await embed(pictures[1]);
      const large = new OffscreenCanvas(64, 64).getContext('2d');
      large.fillRect(0, 0, 64, 64);
      const scaled = await embed(large.getImageData(0, 0, 64, 64));
      globalThis.ready = {
        info, rows: rows.map((r) => [...r]), one: [...one], scaled: [...scaled],
        similarity: similarity(rows[0], rows[2]), threads: model.device.info().threads,
      };`;
    const site = await serve(scriptPage(script, new Map([['model.js', Buffer.from(files[0]!.bytes)]])), { isolated });
    const tab = await open(browser, site);
    const found = await tab.run<{
      info: object;
      rows: number[][];
      one: number[];
      scaled: number[];
      similarity: number;
    }>('globalThis.ready');
    expect(tab.problems).toEqual([]);
    await tab.close();
    site.close();
    const want = await here();
    for (const [i, row] of want.entries()) {
      const away = Math.hypot(...row.map((x, k) => x - found.rows[i]![k]!));
      expect(away).toBeLessThan(1e-4 * Math.hypot(...row));
    }
    expect(found.one).toEqual(found.rows[1]);
    expect(found.scaled.every(Number.isFinite)).toBe(true);
    expect(found.similarity).toBeCloseTo(cosine(want[0]!, want[2]!), 4);
    expect(found.info).toEqual({ architecture: 'mobilefacenet', embeddingSize: 16, width: 32, height: 32, threshold });
  });
});

it.skipIf(noBrowser)('a page from disk compares two pictures and fetches nothing', async () => {
  const { files } = await exportNetwork(network, htmlTarget, { name: 'a <model>.html', engine, threshold });
  const file = join(folder, 'page.html');
  writeFileSync(file, files[0]!.bytes);
  const paths = pictures.map((p, i) => {
    const path = join(folder, `face${i}.png`);
    writeFileSync(path, encodePng(p));
    return path;
  });
  const page = await browser.newPage();
  const fetched: string[] = [];
  const problems: string[] = [];
  page.on('request', (r) => fetched.push(r.url()));
  page.on('pageerror', (e) => problems.push(e.message));
  page.on('console', (m) => problems.push(m.text()));
  await page.goto(pathToFileURL(file).href);
  const inputs = page.locator('input');
  await inputs.nth(0).setInputFiles(paths[0]!);
  await inputs.nth(1).setInputFiles(paths[2]!);
  const said = page.locator('output');
  await said.filter({ hasText: 'similarity' }).waitFor({ timeout: 20_000 });
  const want = await here();
  const expected = cosine(want[0]!, want[2]!);
  const text = (await said.textContent())!;
  expect(Number(/similarity (-?[\d.]+)/.exec(text)![1])).toBeCloseTo(expected, 2);
  expect(text).toContain(expected >= 0.25 ? 'Probably one person' : 'Probably two people');
  expect(text).toContain('chosen on <b>three</b> pictures');
  expect(await page.title()).toBe('a <model>.html: one person?');
  // Another picture in place of one.
  await inputs.nth(1).setInputFiles(paths[0]!);
  await said.filter({ hasText: 'similarity 1.000' }).waitFor({ timeout: 20_000 });
  writeFileSync(join(folder, 'none.png'), 'no picture');
  await inputs.nth(0).setInputFiles(join(folder, 'none.png'));
  await said.filter({ hasText: 'no picture' }).waitFor();
  expect(problems).toEqual([]);
  expect(fetched.filter((url) => !/^(file|data|blob):/.test(url))).toEqual([]);
  expect(fetched.filter((url) => url.startsWith('file:'))).toEqual([pathToFileURL(file).href]);
  if (process.env.SHOT) await page.screenshot({ path: process.env.SHOT });
  await page.close();
});
