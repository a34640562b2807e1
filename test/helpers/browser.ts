/**
 * A real browser for tests: bundles, pages from memory, Chromium with WebGPU on SwiftShader, the CPU Vulkan driver that
 * it carries. Without a browser, or without WebGPU in it, tests skip with the reason; under CI that is a failure.
 */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { rolldown } from 'rolldown';
import { root } from './built.ts';

/** Chromium as Debian installs it; CHROMIUM names another. */
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
/** For `skipIf`. */
export const noBrowser = !existsSync(executablePath) && !process.env.CI;
if (noBrowser) console.log(`browser tests skipped: no browser at ${executablePath}; CHROMIUM names another`);

export const launch = (): Promise<Browser> =>
  chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', // a container's root has no user namespaces for it
      '--headless=new',
      '--enable-unsafe-webgpu',
      '--use-webgpu-adapter=swiftshader',
    ],
  });

export interface Bundle {
  readonly code: string;
  /** Its name, by which the other files import it. */
  readonly file: string;
  /** The other files by name: what comes along at once, and what is loaded when it is needed. */
  readonly chunks: ReadonlyMap<string, string>;
  /** The code that is loaded at once, file by file. */
  readonly first: readonly string[];
  /** Files of the repository in `first`. */
  readonly modules: readonly string[];
  /** The repository's files in what is loaded later, by name of the loaded file. */
  readonly later: ReadonlyMap<string, readonly string[]>;
  /** What it still imports when it runs. */
  readonly imports: readonly string[];
}

/**
 * Bundles a module's text for the browser, as if it stood in the repository's root. A warning is an error, but for one where
 * all of an entry is taken: what it exports cannot come later as well.
 */
export async function bundle(source: string): Promise<Bundle> {
  const entry = join(root, 'virtual-entry.js');
  const takesAll = source.includes('export * from');
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
      if (level === 'warn' && !(takesAll && log.code === 'INEFFECTIVE_DYNAMIC_IMPORT')) throw new Error(log.message);
    },
  });
  const { output } = await build.generate({ format: 'esm', minify: true });
  await build.close();
  const chunks = output.filter((o) => o.type === 'chunk');
  const [chunk, ...others] = chunks;
  const first = new Set([chunk!]);
  for (const loaded of first) for (const other of others) if (loaded.imports.includes(other.fileName)) first.add(other);
  const own = (modules: (typeof chunks)[0]['modules']) =>
    Object.entries(modules).flatMap(([id, m]) => (m.renderedLength > 0 ? [id.replace(root, '')] : []));
  return {
    code: chunk!.code,
    file: chunk!.fileName,
    chunks: new Map(others.map((o) => [o.fileName, o.code])),
    first: [...first].map((o) => o.code),
    modules: [...first].flatMap((o) => own(o.modules)),
    later: new Map(others.flatMap((o) => (first.has(o) ? [] : [[o.fileName, own(o.modules)] as const]))),
    imports: [...chunk!.imports, ...chunk!.dynamicImports],
  };
}

const types: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' };

export type Files = ReadonlyMap<string, string | Uint8Array>;
/** A page of one script, for `serve`; `others` beside it. */
export const scriptPage = (code: string, others: Files = new Map()): Files =>
  new Map<string, string | Uint8Array>([
    [
      'index.html',
      '<!doctype html><title>facegrad</title><link rel="icon" href="data:,"><script type="module" src="./main.js"></script>',
    ],
    ['main.js', code],
    ...others,
  ]);

/** The headers that let pages share memory among threads. */
export const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
} as const;

export interface Site {
  readonly address: string;
  close(): unknown;
}
export async function serve(files: Files, { isolated = true } = {}): Promise<Site> {
  const server = createServer(({ url = '' }, response) => {
    if (isolated) for (const [name, value] of Object.entries(isolation)) response.setHeader(name, value);
    const path = new URL(url, 'http://localhost').pathname.slice(1) || 'index.html';
    const body = files.get(path);
    response.statusCode = body === undefined ? 404 : 200;
    response.setHeader('Content-Type', types[extname(path)] ?? 'application/octet-stream');
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
}

export interface Tab {
  /** The value of an expression, awaited. */
  run<T>(expression: string): Promise<T>;
  /** Errors and warnings of the page so far. */
  readonly problems: readonly string[];
  close(): Promise<void>;
}
/** Opens a page whose script sets the global `ready` when it has run. */
export async function open(browser: Browser, { address }: Site): Promise<Tab> {
  const page: Page = await browser.newPage();
  const problems: string[] = [];
  page.on('pageerror', (e) => problems.push(e.message));
  page.on('console', (m) => {
    if (['error', 'warning'].includes(m.type())) problems.push(`${m.type()}: ${m.text()} (${m.location().url})`);
  });
  await page.goto(address);
  await page.waitForFunction('globalThis.ready', undefined, { timeout: 20_000 }).catch((e: Error) => {
    throw new Error([e.message, ...problems].join('\n'));
  });
  return { run: (expression) => page.evaluate(expression), problems, close: () => page.close() };
}

/** Why pages of this browser have no WebGPU; undefined where they have. Under CI that is an error. */
export async function whyNoWebGpu(tab: Tab): Promise<string | undefined> {
  const adapter = await tab.run<boolean>('navigator.gpu?.requestAdapter().then(Boolean) ?? false');
  if (adapter) return undefined;
  const why = `no WebGPU adapter in ${executablePath}`;
  if (process.env.CI) throw new Error(why);
  console.log(`WebGPU in the browser skipped: ${why}`);
  return why;
}
