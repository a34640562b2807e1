/**
 * The browser entry: a bundler finds no Node module behind it and keeps only what is used, and the bundle trains in a real
 * page, on threads where the page is cross-origin isolated and in unshared memory where it is not.
 */
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { type Browser, chromium } from 'playwright-core';
import { rolldown } from 'rolldown';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { needBuild, root } from '../helpers/built.ts';

beforeAll(needBuild);

/** Bundles a module for the browser; `modules` are the files in it. */
async function bundle(source: string): Promise<{ code: string; modules: string[]; imports: string[] }> {
  const entry = join(root, 'virtual-entry.js');
  const build = await rolldown({
    input: entry,
    platform: 'browser',
    plugins: [
      {
        name: 'entry',
        resolveId: (id: string) => (id === entry ? id : undefined),
        load: (id: string) => (id === entry ? source : undefined),
      },
    ],
    onLog(level, log) {
      if (level === 'warn') throw new Error(log.message);
    },
  });
  const { output } = await build.generate({ format: 'esm', minify: true });
  await build.close();
  const [chunk] = output;
  return {
    code: chunk.code,
    modules: Object.entries(chunk.modules).flatMap(([id, m]) => (m.renderedLength > 0 ? [id.replace(root, '')] : [])),
    imports: [...chunk.imports, ...chunk.dynamicImports],
  };
}
const zipped = (code: string) => gzipSync(code, { level: 9 }).length;

it('bundles for the browser without Node modules, and only what is used', async () => {
  const all = await bundle(`export * from 'facegrad';`);
  const train = await bundle(`export { MobileFaceNet, compile } from 'facegrad';`);
  const errors = await bundle(`export { ShapeError } from 'facegrad';`);
  for (const b of [all, train, errors]) {
    expect(b.imports).toEqual([]);
    // The one mention of a Node module is a look-up at run time, behind a check for Node.
    expect(b.code).not.toMatch(/(from|import\()\s*["'`]node:/);
    expect(b.code).not.toMatch(/\brequire\(["'`](?!node:worker_threads)/);
  }
  expect(train.modules.some((m) => m.includes('evaluate/') || m.includes('weights/') || m.includes('optim/'))).toBe(
    false,
  );
  expect(errors.modules).toEqual(['dist/src/core/errors.js']);
  const [a, t, e] = [zipped(all.code), zipped(train.code), zipped(errors.code)];
  console.log(`gzip: everything ${a} bytes, { MobileFaceNet, compile } ${t} bytes, { ShapeError } ${e} bytes`);
  // Room for growth by two fifths; an image decoder, the command line or a framework would not fit.
  expect(t).toBeLessThan(70_000);
  expect(e).toBeLessThan(1000);
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
    const { loss } = head.loss(net.call(preprocess(images, net.preprocessing), ctx), labels);
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

/** Chromium as Debian installs it; CHROMIUM names another. Only where CI runs is its absence a failure. */
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const noBrowser = !existsSync(executablePath) && !process.env.CI;
if (noBrowser) console.warn(`no browser at ${executablePath}: the bundle is not run in a page. Set CHROMIUM to one.`);
let server: Server;
let browser: Browser;
let address = '';

beforeAll(async () => {
  if (noBrowser) return;
  const { code } = await bundle(page);
  server = createServer((request, response) => {
    if (request.url?.includes('isolated')) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    const script = request.url?.endsWith('.js');
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.end(
      script ? code : '<!doctype html><title>facegrad</title><script type="module" src="./train.js"></script>',
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  // A container's root has no user namespaces for the sandbox.
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
});
afterAll(async () => {
  await browser?.close();
  server?.close();
});

interface Trained {
  losses: number[];
  threads: number;
  simd: string;
  reason: string;
  isolated: boolean;
}
async function trainIn(path: string, options: Readonly<Record<string, unknown>>): Promise<Trained> {
  const tab = await browser.newPage();
  const problems: string[] = [];
  tab.on('pageerror', (e) => problems.push(e.message));
  await tab.goto(`${address}/${path}/`);
  await tab.waitForFunction('globalThis.ready', undefined, { timeout: 20_000 }).catch((e) => {
    throw new Error(`${e.message} ${problems.join('; ')}`);
  });
  const result = await tab.evaluate(`train(${JSON.stringify(options)})`);
  expect(problems).toEqual([]);
  await tab.close();
  return result as Trained;
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
