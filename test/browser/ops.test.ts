/** The generated op tests in a page: WASM on threads and WebGPU in Chromium, against the f64 reference computed there. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  bundle,
  launch,
  noBrowser,
  open,
  type Site,
  scriptPage,
  serve,
  type Tab,
  whyNoWebGpu,
} from '../helpers/browser.ts';
import { exercised } from '../helpers/exercised.ts';
import { composites } from '../ops/composites.ts';
import { recordProblems } from '../ops/harness.ts';
import type { Report } from './opsPage.ts';

/** It names every op: a bundler drops those that nothing does. */
const entry = `
export * from './src/ops/index.ts';
import { onWasm, onWebGpu } from './test/browser/opsPage.ts';
Object.assign(globalThis, { wasm: onWasm, webgpu: onWebGpu, ready: true });`;

describe.skipIf(noBrowser)('every op in a page, forward and gradient', () => {
  let browser: Browser;
  let site: Site;
  let tab: Tab;
  beforeAll(async () => {
    const { code, imports } = await bundle(entry);
    expect(imports).toEqual([]);
    site = await serve(scriptPage(code));
    browser = await launch();
    tab = await open(browser, site);
  });
  afterAll(async () => {
    await browser?.close();
    site?.close();
  });

  const here = [...recordProblems(), ...composites()].flatMap(([, list]) => list).length;
  // A software GPU compiles some hundred kernels.
  it.for(['wasm', 'webgpu'] as const)('on %s within the bounds', { timeout: 300_000 }, async (name, { skip }) => {
    const why = name === 'webgpu' ? await whyNoWebGpu(tab) : undefined;
    if (why) skip(why);
    const report = await tab.run<Report>(`${name}()`);
    expect(report.complaints).toEqual([]);
    expect(tab.problems).toEqual([]);
    expect(report.problems).toBe(here);
    const [device] = report.device.split(/ with |,/);
    console.log(`Chromium ${browser.version()}: ${report.problems} problems, ${report.results} results on ${device}`);
    exercised(`${name} in Chromium (${device})`);
  });
});
