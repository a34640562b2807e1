/**
 * The package as it is published: what it holds, that its types serve a consumer, and that the system's own Node (not the
 * one this repository brings along) runs it, with and without its flags for faster kernels.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, sep } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { needBuild, root } from '../helpers/built.ts';

beforeAll(needBuild);
const folder = mkdtempSync(join(tmpdir(), 'facegrad-package-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Node's own version as a list, of an executable. */
const versionOf = (node: string) => execFileSync(node, ['--version'], { encoding: 'utf8' }).trim().slice(1);

/** The first `node` on the path that no package put there. */
function systemNode(): string | undefined {
  for (const place of (process.env.PATH ?? '').split(delimiter)) {
    const node = join(place, process.platform === 'win32' ? 'node.exe' : 'node');
    if (!existsSync(node) || realpathSync(node).includes(`${sep}node_modules${sep}`)) continue;
    return node;
  }
  return undefined;
}

/** What mode a Node must run, from its version: V8's switches of each are known. */
function modeOf(version: string, fast: boolean): string {
  const major = Number(version.split('.')[0]);
  if (major < 22) return fast ? 'narrow-relaxed-shared' : 'narrow-strict-shared';
  return fast && major >= 24 ? 'wide-relaxed-shared' : 'narrow-relaxed-shared';
}

const own = process.execPath;
const system = systemNode();
if (!system || versionOf(system) === versionOf(own))
  console.warn(`no Node but ${versionOf(own)} on this machine: the smoke run of another version did not happen`);

describe.each([...new Set([own, ...(system ? [system] : [])])].map((node) => ({ node, version: versionOf(node) })))(
  'Node $version',
  ({ node, version }) => {
    it.each([false, true])('smoke run of the built package, fast kernels: %s', (fast) => {
      const run = spawnSync(node, ['--test', '--test-reporter=tap', 'test/package/smoke.mjs'], {
        cwd: root,
        encoding: 'utf8',
        env: {
          PATH: process.env.PATH,
          HOME: process.env.HOME,
          SIMD: modeOf(version, fast),
          ...(fast && { FAST: '1' }),
        },
      });
      expect(run.status, run.stdout + run.stderr).toBe(0);
      expect(run.stdout).toMatch(fast ? /^# pass 6$/m : /^# pass 7$/m);
      expect(run.stdout).toMatch(new RegExp(`samples on ${modeOf(version, fast)}`));
    });

    it('facegrad --help and doctor', () => {
      const cli = (...args: string[]) =>
        execFileSync(node, [join(root, 'dist/src/cli/main.js'), ...args], { encoding: 'utf8' });
      for (const command of [
        'train',
        'eval',
        'embed',
        'verify',
        'detect',
        'import',
        'quantize',
        'export',
        'bench',
        'doctor',
        'info',
      ])
        expect(cli('--help')).toContain(command);
      const { devices } = JSON.parse(cli('doctor', '--json', '--threads', '2'));
      expect(devices.find((d: { name: string }) => d.name === 'wasm')).toMatchObject({
        available: true,
        threads: 2,
        simd: modeOf(version, true),
      });
    });
  },
);

it('holds the build and nothing else', () => {
  const npm = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8' });
  const parsed = JSON.parse(npm.stdout);
  const [entry] = Array.isArray(parsed) ? parsed : (Object.values(parsed) as unknown[]);
  const { files, size } = entry as { files: { path: string }[]; size: number };
  const paths = files.map((f) => f.path);
  for (const needed of [
    'package.json',
    'README.md',
    'LICENSE',
    'dist/src/index.js',
    'dist/src/index.d.ts',
    'dist/src/cli/main.js',
  ])
    expect(paths).toContain(needed);
  expect(
    paths.filter((p) => !/^(dist\/(src|native|kernels|datasets|bench)\/|package\.json$|README\.md$|LICENSE$)/.test(p)),
  ).toEqual([]);
  // Measured: 1.25 MB, 120 kB of them the engine of exported pages.
  expect(size).toBeLessThan(1.4e6);
});

/** What TypeScript says of a consumer's files, under a way of finding packages. */
function compiled(
  name: string,
  moduleResolution: 'nodenext' | 'bundler',
  files: Readonly<Record<string, string>>,
): string {
  const consumer = join(folder, name);
  mkdirSync(join(consumer, 'node_modules'), { recursive: true });
  symlinkSync(root, join(consumer, 'node_modules/facegrad'), 'junction');
  const module = moduleResolution === 'bundler' ? 'preserve' : 'nodenext';
  const compilerOptions = { noEmit: true, strict: true, target: 'es2022', types: [], module, moduleResolution };
  const all: Readonly<Record<string, string>> = {
    'package.json': '{"type":"module"}',
    'tsconfig.json': JSON.stringify({ compilerOptions, files: Object.keys(files) }),
    ...files,
  };
  for (const [file, text] of Object.entries(all)) writeFileSync(join(consumer, file), text);
  const tsc = spawnSync(own, [join(root, 'node_modules/typescript/bin/tsc'), '-p', consumer], { encoding: 'utf8' });
  return tsc.stdout + tsc.stderr + (tsc.status === 0 ? '' : `exit ${tsc.status}`);
}

const training = `import { ArcFace, compile, grad, host, loadEmbedder, MobileFaceNet, parametersOf, sgd, type Tensor } from 'facegrad';
const net = new MobileFaceNet({ embeddingSize: 64 });
const head = new ArcFace({ classes: 3, embeddingSize: 64 });
const parameters = parametersOf(net);
const optimizer = sgd(parameters);
export const step = compile(({ x, labels, lr }, ctx) => {
  const e: Tensor = net.call(x!, ctx);
  const { loss } = head.loss(e, labels!, ctx);
  optimizer.update(grad(loss, parameters), lr!, ctx);
  return { loss };
}, { training: true });
const out = await step({ x: host(new Float32Array(3), [1, 1, 1, 3]), labels: host(new Int32Array(1), [1]), lr: 0.1 });
export const loss: number = out.loss!.data[0]!;
// @ts-expect-error an embedder is made from bytes or a path
await loadEmbedder(3);
`;

const models = `import {
  bytesSource, type Detection, embedderOf, exportNetwork, exportTargetOf, exportTargets, type ExportTarget, importModel,
  type ImportedModel, openDetector, openDevice, quantizeNetwork, int8Bytes, weightFormats, type WeightFormat,
  type WeightSource,
} from 'facegrad';
declare const bytes: Uint8Array;
const source: WeightSource = bytesSource('a.onnx', bytes, new Map([['b.bin', bytes]]));
const model: ImportedModel = await importModel(source, { inputSize: [112, 112], preprocessing: { colourOrder: 'RGB' } });
const device = await openDevice('wasm');
export const rows: Float32Array = await embedderOf(model.network, device).embed([{ width: 1, height: 1, data: bytes }]);
const target: ExportTarget = exportTargetOf('onnx', 'a.onnx');
export const { files } = await exportNetwork(model.network, target, { name: 'a.onnx', preprocessing: 'include' });
export const small: Uint8Array = files[0]!.bytes;
const detector = await openDetector(bytes, { device, score: 0.5 });
export const [face]: Detection[] = await detector.detect({ width: 1, height: 1, data: bytes });
export const formats: readonly WeightFormat[] = weightFormats;
export const names: string[] = exportTargets.map((t) => t.name);
export { int8Bytes, quantizeNetwork };
// @ts-expect-error what is imported is a source, with a name
await importModel(bytes);
`;

it.each(['nodenext', 'bundler'] as const)('types serve a consumer (%s)', (moduleResolution) => {
  expect(compiled(moduleResolution, moduleResolution, { 'training.ts': training, 'models.ts': models })).toBe('');
});

it('the code in the README compiles', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  const blocks = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((m) => m[1]!);
  expect(blocks.length).toBeGreaterThan(3);
  const given = `declare const file: File;
declare const bytes: Uint8Array<ArrayBuffer>;
declare const rgb: Uint8Array;
declare const pixels: Uint8Array;
declare const ids: Int32Array;
declare const picture: { width: number; height: number; data: Uint8Array };
`;
  const files = Object.fromEntries(blocks.map((block, i) => [`block${i}.ts`, block]));
  expect(compiled('readme', 'nodenext', { 'given.d.ts': given, ...files })).toBe('');
});
