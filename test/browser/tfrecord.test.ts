/** TFRecord files in a page: plain and packed, with and without memory that threads share. */
import { readFileSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundle, launch, noBrowser, open, type Site, scriptPage, serve, type Tab } from '../helpers/browser.ts';

const entry = `
import { imageBytes, tfRecordDataset } from './src/data/index.ts';
async function read(files, options) {
  const set = await tfRecordDataset(files.map((f) => new Blob([Uint8Array.from(atob(f), (c) => c.charCodeAt(0))])), options);
  const images = [];
  for (let i = 0; i < set.length; i++) {
    const { bytes, raw } = await imageBytes(structuredClone(set.source(i)));
    images.push({ bytes: btoa(String.fromCharCode(...bytes)), label: set.label(i), raw: raw && [raw.width, raw.height] });
  }
  const source = set.source(0);
  return { images, kind: source.kind, shared: crossOriginIsolated && source.bytes?.buffer instanceof SharedArrayBuffer };
}
async function bomb() {
  const zeros = new Blob(Array.from({ length: 50 }, () => new Uint8Array(1e6)));
  const packed = await new Response(zeros.stream().pipeThrough(new CompressionStream('gzip'))).blob();
  return tfRecordDataset([packed], { mostUnpacked: 5e6 }).then(() => 'read', (e) => e.name + ': ' + e.message);
}
const cut = (file) => read([file]).then(() => 'read', (e) => e.name + ': ' + e.message);
Object.assign(globalThis, { read, bomb, cut, ready: true });`;

const golden = JSON.parse(readFileSync(new URL('../reference/tfrecordTensorflow.json', import.meta.url), 'utf8'));

describe.skipIf(noBrowser).each([true, false])('TFRecord in a page, isolated: %s', (isolated) => {
  let browser: Browser;
  let site: Site;
  let tab: Tab;
  beforeAll(async () => {
    const { code, imports } = await bundle(entry);
    expect(imports).toEqual([]);
    site = await serve(scriptPage(code), { isolated });
    browser = await launch();
    tab = await open(browser, site);
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
  });

  it.each(Object.keys(golden))('%s', async (name) => {
    const packed = /ZIP|ZLIB/.test(name);
    const { file, images } = golden[name];
    const expected = { images, kind: packed ? 'bytes' : 'part', shared: packed && isolated };
    expect(await tab.run(`read([${JSON.stringify(file)}])`)).toEqual(expected);
  });
  it('refuses files that unpack too far or are cut off', async () => {
    expect(await tab.run('bomb()')).toMatch(/^DataError: blob: expected at most 5000000 bytes to come out/);
    const { file } = golden['TensorFlow GZIP'];
    expect(await tab.run(`cut(${JSON.stringify(file.slice(0, 400))})`)).toMatch(
      /^DataError: blob: expected whole gzip data/,
    );
    expect(tab.problems).toEqual([]);
  });
});
