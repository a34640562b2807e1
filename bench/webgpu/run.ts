/**
 * A training step on WebGPU next to the same step in TensorFlow.js: one page of one Chromium runs both in turns, counted
 * by the same wrapper around WebGPU itself.
 *
 * The one idea: GPUs differ a hundredfold, and here a CPU plays one (SwiftShader); dispatches and bytes moved are what
 * carries over, and step times are compared with each other only.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { NumericsError, UsageError } from '../../src/core/errors.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { commitOf, loadNow, machineBlock, packageRoot } from '../machine.ts';
import { bestOf, medianOf } from '../sample.ts';
import { columns } from '../table.ts';
import type { PageResult, ProgramResult, Task } from './task.ts';

export interface WebGpuBenchOptions {
  /** Default 4. */
  readonly batch?: number;
  /** Side of the images, a multiple of 16. Default 112. */
  readonly size?: number;
  /** Of MobileFaceNet's channels. Default 1. */
  readonly width?: number;
  /** Default 1000. */
  readonly classes?: number;
  /** Steps timed, after the first. Default 5. */
  readonly steps?: number;
  /** The browser. Default: the environment's CHROMIUM, else Debian's. */
  readonly chromium?: string;
  /** Its flags that choose the adapter. Default: SwiftShader. */
  readonly adapterFlags?: readonly string[];
  /** Also print the kernels that move the most. */
  readonly profile?: boolean;
  /** Where the results go as JSON. */
  readonly out?: string;
  readonly print?: (text: string) => void;
  readonly log?: (line: string) => void;
}

export interface WebGpuRow extends Omit<ProgramResult, 'kernels'> {
  readonly bestMs: number;
  readonly medianMs: number;
  readonly bestCpuMs: number;
}

/**
 * Losses of the first two steps agree within this part of themselves: the second shows every gradient and the update.
 * Where rounding moves an activation past the kink of its PReLU, gradients differ by a thousandth.
 */
const tolerance = 1e-3;

/** Code of the page: our sources and TensorFlow.js from bench/peers, as one module. */
async function bundlePage(): Promise<string> {
  const { rolldown } = await import('rolldown').catch((cause) => {
    throw new UsageError('bench: rolldown is not installed\nRun it in a clone of the repository after npm ci.', {
      cause,
    });
  });
  const build = await rolldown({
    input: join(packageRoot, 'bench/webgpu/page.ts'),
    platform: 'browser',
    resolve: { modules: [join(packageRoot, 'bench/peers/node_modules'), 'node_modules'] },
  });
  const { output } = await build.generate({ format: 'esm', minify: { mangle: { keepNames: true } } });
  await build.close();
  return output[0].code;
}

function checkInstalled(chromium: string): void {
  const missing = (what: string, todo: string) => new UsageError(`bench webgpu: ${what}\n${todo}`);
  if (!existsSync(join(packageRoot, 'bench/webgpu/page.ts')))
    throw missing('its page is not there: an installed package has none', 'Run it in a clone of the repository.');
  if (!existsSync(join(packageRoot, 'bench/peers/node_modules/@tensorflow/tfjs-backend-webgpu')))
    throw missing('@tensorflow/tfjs-backend-webgpu is not installed', 'Run npm ci --ignore-scripts in bench/peers.');
  if (!existsSync(chromium)) throw missing(`no browser at ${chromium}`, 'Set CHROMIUM to one.');
}

async function runPage(task: Task, options: WebGpuBenchOptions, executablePath: string) {
  const { chromium } = await import('playwright-core').catch((cause) => {
    throw new UsageError('bench: playwright-core is not installed\nRun it in a clone of the repository after npm ci.', {
      cause,
    });
  });
  const code = await bundlePage();
  const server = createServer((request, response) => {
    const script = request.url?.endsWith('.js');
    response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
    response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    response.setHeader('Content-Type', script ? 'text/javascript' : 'text/html');
    response.end(script ? code : '<!doctype html><script type="module" src="./page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  // A container's root has no user namespaces for the sandbox.
  const { adapterFlags = ['--use-webgpu-adapter=swiftshader'] } = options;
  const args = ['--no-sandbox', '--headless=new', '--enable-unsafe-webgpu', ...adapterFlags];
  const browser = await chromium.launch({ executablePath, args });
  try {
    const tab = await browser.newPage();
    const problems: string[] = [];
    tab.on('pageerror', (e) => problems.push(e.message));
    tab.on('console', (message) => {
      options.log?.(message.text());
    });
    const cdp = await browser.newBrowserCDPSession();
    await tab.exposeFunction('cpuSeconds', async () => {
      const { processInfo } = await cdp.send('SystemInfo.getProcessInfo');
      return processInfo.reduce((sum, p) => sum + p.cpuTime, 0);
    });
    await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await tab.waitForFunction('globalThis.measure', undefined, { timeout: 60_000 }).catch((e) => {
      throw new Error(`${e.message} ${problems.join('; ')}`);
    });
    const result = (await tab.evaluate(`measure(${JSON.stringify(task)})`)) as PageResult;
    return { result, browser: `Chromium ${browser.version()}`, args };
  } finally {
    await browser.close();
    server.close();
  }
}

const rowOf = ({ kernels: _kernels, ...rest }: ProgramResult): WebGpuRow => ({
  ...rest,
  bestMs: bestOf(rest.stepMs),
  medianMs: medianOf(rest.stepMs),
  bestCpuMs: bestOf(rest.stepCpuMs),
});

const megabytes = (n: number) => (n / 1e6).toFixed(1);
const seconds = (ms: number) => (ms / 1000).toFixed(2);

const measures: readonly [string, (r: WebGpuRow) => number, (n: number) => string][] = [
  ['dispatches', (r) => r.dispatches, String],
  ['submits', (r) => r.submits, String],
  ['MB moved by dispatches', (r) => r.bytesMoved, megabytes],
  ['MB copied between buffers', (r) => r.bytesCopied, megabytes],
  ['MB uploaded', (r) => r.bytesUploaded, megabytes],
  ['buffers alive', (r) => r.buffers, String],
  ['MB alive', (r) => r.bytesAlive, megabytes],
  ['MB alive at most', (r) => r.peakBytes, megabytes],
  ['s a step, best', (r) => r.bestMs, seconds],
  ['s a step, median', (r) => r.medianMs, seconds],
  ['processor s a step, least', (r) => r.bestCpuMs, seconds],
  ['s of the first step with compiling', (r) => r.firstStepMs, seconds],
];

const table = ([ours, theirs]: readonly [WebGpuRow, WebGpuRow]): string =>
  columns(
    [
      ['a training step', ours.program, theirs.program, 'ratio'],
      ...measures.map(([name, of, show]) => [
        name,
        show(of(ours)),
        show(of(theirs)),
        of(theirs) ? (of(ours) / of(theirs)).toFixed(3) : '',
      ]),
    ],
    1,
  );

const kernelLines = ({ program, kernels }: ProgramResult): string =>
  columns([
    [program, 'kernel', 'dispatches', 'MB moved'],
    ...kernels.slice(0, 20).map((k) => ['', k.label.slice(0, 70), String(k.dispatches), megabytes(k.bytes)]),
  ]);

/**
 * Times and counts both programs, checks that their losses agree, prints a table and resolves to its rows, ours first.
 * @throws UsageError where browser, TensorFlow.js or bundler are missing; NumericsError where the programs differ
 */
export async function benchWebGpu(options: WebGpuBenchOptions = {}): Promise<WebGpuRow[]> {
  const { batch = 4, size = 112, width = 1, classes = 1000, steps = 5 } = options;
  // A rate at which the loss of one batch falls steadily.
  const changes = { batch, inputSize: [size, size], width, lr: 1e-5 };
  const task: Task = { recipe: resolveRecipe('mobilefacenet-arcface', changes), classes, steps };
  const chromium = options.chromium ?? process.env.CHROMIUM ?? '/usr/bin/chromium';
  checkInstalled(chromium);
  const before = loadNow();
  const { result, browser, args } = await runPage(task, options, chromium);
  const rows = result.programs.map(rowOf) as [WebGpuRow, WebGpuRow];
  const print = options.print ?? (() => {});
  print(
    `MobileFaceNet ${size}x${size}, width ${width}, batch ${batch}, ArcFace over ${classes} classes; ${browser}, ${result.adapter}\n${table(rows)}\n`,
  );
  if (options.profile) print(result.programs.map((p) => `${kernelLines(p)}\n`).join('\n'));
  for (const i of [0, 1]) {
    const [ours, theirs] = rows.map((r) => r.losses[i]!) as [number, number];
    if (!(Math.abs(ours - theirs) <= tolerance * Math.abs(theirs)))
      throw new NumericsError(
        `bench webgpu: expected the same loss of both programs in step ${i + 1}, got ${ours} and ${theirs}\nTheir times compare nothing: find the op that differs.`,
      );
  }
  if (options.out) {
    const machine = machineBlock([], {}, before);
    const lines = rows.map((r) => `    ${JSON.stringify(r)}`).join(',\n');
    const head = { machine, browser, args, adapter: result.adapter, commit: commitOf(), task };
    writeFileSync(
      options.out,
      `{\n${Object.entries(head)
        .map(([k, v]) => `  ${JSON.stringify(k)}: ${JSON.stringify(v)},\n`)
        .join('')}  "rows": [\n${lines}\n  ]\n}\n`,
    );
  }
  return rows;
}
