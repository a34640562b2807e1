/**
 * The package in a page as Vite and esbuild bundle it with their defaults, without a warning: it trains on WASM and on
 * WebGPU, and embeds photos on both.
 *
 * Training amplifies rounding, so the two devices' losses may part by four times as far as runs on WASM part whose initial
 * weights differ in their last bit, or whose multiply-adds round twice.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';
import type { Browser } from 'playwright-core';
import * as vite from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { preprocess } from '../../src/models/network.ts';
import { BatchNorm } from '../../src/nn/layers.ts';
import { initialize, modulesOf } from '../../src/nn/module.ts';
import {
  type Files,
  isolation,
  launch,
  noBrowser,
  open,
  type Site,
  serve,
  type Tab,
  whyNoWebGpu,
} from '../helpers/browser.ts';
import { needBuild, root } from '../helpers/built.ts';
import { exercised } from '../helpers/exercised.ts';
import { weightsOf } from '../helpers/tinyNetwork.ts';

/** A user's project: the page, and the package as npm installs it beside its dependencies. */
const folder = mkdtempSync(join(tmpdir(), 'facegrad-page-'));
beforeAll(() => {
  needBuild();
  cpSync(new URL('app', import.meta.url), folder, { recursive: true });
  const { dependencies, files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  for (const part of ['package.json', ...files])
    cpSync(join(root, part), join(folder, 'node_modules/facegrad', part), { recursive: true });
  for (const name of Object.keys(dependencies)) {
    const link = join(folder, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, 'node_modules', name), link, 'junction');
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Bundled extends Site {
  /** Warnings and errors of the bundler so far. */
  readonly said: readonly string[];
}
/** Vite with its defaults, as far as a test can hear it. */
function quietly(said: string[]): vite.InlineConfig {
  const say = (message: string) => said.push(message);
  const customLogger = { ...vite.createLogger('warn'), warn: say, warnOnce: say, error: say };
  return { root: folder, configFile: false, logLevel: 'warn', customLogger };
}
/** Each serves the page, and files of the test beside it. */
const bundlers: Readonly<Record<string, (own: Files) => Promise<Bundled>>> = {
  async vite(own) {
    const said: string[] = [];
    await vite.build(quietly(said));
    const out = join(folder, 'dist');
    const found = readdirSync(out, { recursive: true, withFileTypes: true }).filter((f) => f.isFile());
    const files = new Map(own);
    for (const f of found) {
      const path = join(f.parentPath, f.name);
      files.set(relative(out, path).replaceAll('\\', '/'), readFileSync(path));
    }
    return { ...(await serve(files)), said };
  },
  async esbuild(own) {
    const { outputFiles, warnings } = await esbuild.build({
      absWorkingDir: folder,
      entryPoints: ['main.js'],
      bundle: true,
      format: 'esm',
      platform: 'browser',
      write: false,
      logLevel: 'silent',
    });
    const files = new Map(own);
    files.set('index.html', readFileSync(join(folder, 'index.html')));
    files.set('main.js', outputFiles[0]!.contents);
    return { ...(await serve(files)), said: warnings.map((w) => w.text) };
  },
};

/** Vite's development server: modules one by one, the package's own bundled beforehand. */
async function developing(): Promise<Bundled> {
  const said: string[] = [];
  const server = await vite.createServer({ ...quietly(said), server: { host: '127.0.0.1', headers: isolation } });
  await server.listen();
  return { address: server.resolvedUrls!.local[0]!, close: () => server.close(), said };
}

/** A network of full size that has seen pictures: with drawn statistics in its batch norms, all faces embed alike. */
async function weights(): Promise<Uint8Array> {
  const net = initialize(new MobileFaceNet(), 5);
  for (const m of modulesOf(net)) if (m instanceof BatchNorm) Object.assign(m, { momentum: 1 });
  const device = await WasmDevice.create({ threads: 2 });
  const run = compile(({ x }, ctx) => ({ y: net.call(preprocess(x!, net.preprocessing), ctx) }), {
    device,
    training: true,
  });
  const faces = Array.from({ length: 8 }, (_, i) => syntheticFace(1, i, 0));
  await run({ x: host(new Uint8Array(Buffer.concat(faces)), [8, 112, 112, 3]) });
  const bytes = await weightsOf(net);
  await device.dispose();
  return bytes;
}
const data = fileURLToPath(new URL('../../../shared/data/verify/lfw112/', import.meta.url));
const photos = existsSync(data)
  ? ['Abdullah_Gul/Abdullah_Gul_0001.jpg', 'Abel_Pacheco/Abel_Pacheco_0001.jpg'].map((name) => join(data, name))
  : [];
if (!photos.length) console.log(`photos in a page skipped: there is no ${data}`);

interface Trained {
  readonly losses: readonly number[];
  readonly device: string;
}
interface Embedded {
  readonly embeddings: readonly (readonly number[])[];
  readonly device: string;
}
const train = (tab: Tab, device: 'wasm' | 'webgpu', settings: object = {}) =>
  tab.run<Trained>(`train('${device}', ${JSON.stringify(settings)})`);
const usual = { options: { threads: 2 } };
const dot = (a: readonly number[], b: readonly number[]) => a.reduce((s, x, i) => s + x * b[i]!, 0);

describe('a page trains and embeds', () => {
  const own = new Map<string, string | Uint8Array>();
  /** The losses on WASM, which all bundles share, and how far its runs have parted by each step. */
  let first: { readonly losses: readonly number[]; readonly gaps: readonly number[] } | undefined;
  beforeAll(async () => {
    own.set('weights.safetensors', await weights());
    for (const [i, path] of photos.entries()) own.set(`photos/${i}.jpg`, readFileSync(path));
  });

  describe.each(Object.keys(bundlers))('bundled by %s', (bundler) => {
    let site: Bundled;
    let browser: Browser;
    let tab: Tab;
    beforeAll(async () => {
      site = await bundlers[bundler]!(own);
      if (noBrowser) return;
      browser = await launch();
      tab = await open(browser, site);
    });
    afterAll(async () => {
      await browser?.close();
      await site?.close();
    });
    const quiet = () => expect([...site.said, ...(tab?.problems ?? [])]).toEqual([]);
    const say = (what: string, devices: Readonly<Record<'wasm' | 'webgpu', string>>) => {
      console.log(`${bundler}, Chromium ${browser.version()}: ${what} on ${Object.values(devices).join(' and on ')}`);
      for (const [name, device] of Object.entries(devices)) exercised(`${name} in Chromium (${device})`);
    };

    it('without a warning', quiet);

    /** By each step, the largest difference of any run whose rounding alone is different. */
    async function gapsFrom(losses: readonly number[]): Promise<number[]> {
      const near = [await train(tab, 'wasm', { options: { threads: 2, relaxed: false } })];
      for (const nudge of [1, 2, 3, 4]) near.push(await train(tab, 'wasm', { ...usual, nudge }));
      let gap = 0;
      return losses.map((loss, i) => {
        gap = Math.max(gap, ...near.map((run) => Math.abs(run.losses[i]! - loss)));
        return gap;
      });
    }

    // A software GPU compiles a kernel in half a second.
    const timeout = 300_000;
    it.skipIf(noBrowser)('trains 20 steps on WASM and on WebGPU', { timeout }, async ({ skip }) => {
      const wasm = await train(tab, 'wasm', usual);
      const [start, end] = [wasm.losses[0]!, wasm.losses.at(-1)!];
      expect(wasm.losses.length).toBe(20);
      expect(wasm.losses.every(Number.isFinite)).toBe(true);
      expect(end).toBeLessThan(0.9 * start);
      first ??= { losses: wasm.losses, gaps: await gapsFrom(wasm.losses) };
      expect(wasm.losses).toEqual(first.losses);
      // The bound must still mean something at the end.
      expect(first.gaps.at(-1)).toBeLessThan(0.01 * (start - end));

      const why = await whyNoWebGpu(tab);
      if (why) skip(why);
      const gpu = await train(tab, 'webgpu');
      for (const [i, loss] of wasm.losses.entries()) {
        const bound = 4 * first.gaps[i]! + 2 ** -22 * loss;
        expect(Math.abs(gpu.losses[i]! - loss), `step ${i}: ${gpu.losses[i]} for ${loss}`).toBeLessThanOrEqual(bound);
      }
      quiet();
      const numbers = [start, end, gpu.losses.at(-1)!].map((x) => x.toFixed(5));
      say(`20 steps, loss ${numbers[0]} to ${numbers[1]} and to ${numbers[2]}`, {
        wasm: wasm.device,
        webgpu: gpu.device,
      });
    });

    it.skipIf(noBrowser || !photos.length)('embeds two photos on both', { timeout }, async ({ skip }) => {
      const wasm = await tab.run<Embedded>(`embed('wasm')`);
      for (const e of wasm.embeddings) expect(Math.sqrt(dot(e, e))).toBeCloseTo(1, 5);
      const between = dot(wasm.embeddings[0]!, wasm.embeddings[1]!);
      expect(between).toBeLessThan(0.99);
      const why = await whyNoWebGpu(tab);
      if (why) skip(why);
      const gpu = await tab.run<Embedded>(`embed('webgpu')`);
      const cosines = gpu.embeddings.map((e, i) => dot(e, wasm.embeddings[i]!));
      for (const e of gpu.embeddings) expect(Math.sqrt(dot(e, e))).toBeCloseTo(1, 5);
      expect(Math.min(...cosines)).toBeGreaterThan(0.9999);
      quiet();
      say(`two photos (cosine ${between.toFixed(3)}) embedded`, { wasm: wasm.device, webgpu: gpu.device });
    });
  });

  it.skipIf(noBrowser)("trains from Vite's development server", async () => {
    const site = await developing();
    const browser = await launch();
    const tab = await open(browser, site);
    const { losses, device } = await train(tab, 'wasm', usual);
    expect(losses).toEqual(first?.losses ?? losses);
    expect([...site.said, ...tab.problems]).toEqual([]);
    console.log(`vite's development server, Chromium ${browser.version()}: 20 steps on ${device}`);
    await browser.close();
    await site.close();
  });
});
