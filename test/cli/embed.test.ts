/** `facegrad embed` as a process: what it writes equals the library's rows, in the order given. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { memorySource } from '../../src/data/bytes.ts';
import { readFeatureFiles } from '../../src/data/formats/featureFiles.ts';
import { openFeatures } from '../../src/data/formats/features.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { combineFlip } from '../../src/evaluate/verification.ts';
import { encodePng } from '../../src/image/encode.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { readNpz } from '../../src/weights/npz.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { noCrops, picture, writePeople } from '../helpers/pictures.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-embed-'));
afterAll(() => rmSync(folder, { recursive: true }));
const weights = join(folder, 'w.safetensors');
const bytes = await weightsOf(tinyNetwork());
writeFileSync(weights, bytes);
const faces = writePeople(join(folder, 'faces'), 3, 2).flat();

/** Rows of pictures by the library, one picture at a time. */
async function rowsOf(list: readonly (readonly [number, number])[], mirrored = false): Promise<Float32Array[]> {
  const device = await WasmDevice.create({ threads: 1 });
  const e = await loadEmbedder(bytes, { device });
  const rows = [];
  for (const [p, s] of list) rows.push(await e.embed([picture(p, s)], { mirrored }));
  await e.dispose();
  await device.dispose();
  return rows;
}

it('files in the order given, and a folder in the order of its names', async () => {
  const out = join(folder, 'a.npy');
  const given = [faces[5]!, faces[0]!, faces[3]!];
  const ended = await facegrad(['embed', '--weights', weights, ...given, '--out', out]);
  expect(ended.stderr).toMatch(noCrops);
  expect(ended.code).toBe(0);
  const npy = readNpy(readFileSync(out));
  expect([npy.dtype, npy.shape]).toEqual(['f32', [3, 16]]);
  const want = await rowsOf([
    [2, 1],
    [0, 0],
    [1, 1],
  ]);
  expect([...npy.data]).toEqual(want.flatMap((r) => [...r]));
  expect(readFileSync(join(folder, 'a.names.txt'), 'utf8')).toBe(given.map((p) => `${p}\n`).join(''));

  const whole = await facegrad(['embed', '--weights', weights, join(folder, 'faces'), '--json', '--threads', '1']);
  const { dim, embeddings } = JSON.parse(whole.stdout);
  expect(dim).toBe(16);
  expect(embeddings.map((e: { name: string }) => e.name)).toEqual(faces);
  expect(Float32Array.from(embeddings[5].embedding)).toEqual(want[0]);
});

it('an archive with names and labels, a feature matrix, and a feature file per picture', async () => {
  const run = (...args: string[]) => facegrad(['embed', '--weights', weights, ...args]);
  const people = join(folder, 'faces');
  const out = join(folder, 'b.npz');
  expect((await run(people, '--out', out)).stdout).toBe(`${out}: embeddings [6, 16], names, labels\n`);
  const npz = await readNpz(readFileSync(out), out);
  expect(npz.get('names')).toEqual({ dtype: 'text', shape: [6], data: faces });
  expect(npz.get('labels')).toEqual({ dtype: 'i32', shape: [6], data: Int32Array.of(0, 0, 1, 1, 2, 2) });
  const { shape, data } = npz.get('embeddings')!;
  expect(shape).toEqual([6, 16]);
  const all = data as Float32Array;
  expect([...all.subarray(80)]).toEqual([...(await rowsOf([[2, 1]]))[0]!]);
  // Labels of several folders would mix, and files are of nobody known.
  expect((await run(faces[0]!, faces[2]!, '--out', out)).stdout).toBe(`${out}: embeddings [2, 16], names\n`);

  const matrix = join(folder, 'b.feat');
  expect((await run(people, '--out', matrix)).code).toBe(0);
  const rows = await openFeatures(memorySource(readFileSync(matrix), matrix));
  expect([rows.shape, ...(await rows.rows(0, 6))]).toEqual([[6, 16], ...all]);
  expect(readFileSync(join(folder, 'b.names.txt'), 'utf8')).toBe(faces.map((p) => `${p}\n`).join(''));

  const tree = join(folder, 'features');
  const ended = await run(people, '--out', `${tree}/`, '--suffix', '_tiny.bin');
  expect(ended.stdout).toBe(`${tree}/: 6 feature files of 16 numbers\n`);
  expect(ended.stderr).toMatch(noCrops);
  const read = await readFeatureFiles(tree, { suffix: '_tiny.bin' });
  expect(read.names.map((n) => join(people, n))).toEqual(faces);
  expect(read.features).toEqual(all);
});

it('photographs are aligned by a file of five points', async () => {
  const photos = join(folder, 'photos');
  mkdirSync(join(photos, 'a'), { recursive: true });
  const photo = picture(1, 0, 90);
  writeFileSync(join(photos, 'a/1.png'), encodePng(photo));
  const points = [30, 35, 58, 33, 45, 50, 33, 66, 57, 64];
  const landmarks = join(folder, 'points.json');
  writeFileSync(landmarks, JSON.stringify({ 'a/1.png': points }));
  const run = (...args: string[]) => facegrad(['embed', '--weights', weights, photos, '--json', ...args]);
  const device = await WasmDevice.create({ threads: 1 });
  const e = await loadEmbedder(bytes, { device });
  const want = await e.embed([{ ...photo, points }]);
  await e.dispose();
  await device.dispose();
  const { stdout, stderr } = await run('--landmarks', landmarks);
  expect(stderr).toBe('');
  expect(Float32Array.from(JSON.parse(stdout).embeddings[0].embedding)).toEqual(want);
  writeFileSync(landmarks, JSON.stringify({ 'a/2.png': points }));
  const missing = await run('--landmarks', landmarks);
  expect([missing.code, missing.stderr]).toEqual([
    1,
    expect.stringMatching(/points\.json: expected five points of .*1\.png, found none/),
  ]);
});

it('flip rules and unit length', async () => {
  const [upright, mirrored] = [(await rowsOf([[1, 0]]))[0]!, (await rowsOf([[1, 0]], true))[0]!];
  for (const flip of ['sum', 'concat'] as const) {
    const { stdout } = await facegrad(['embed', '--weights', weights, faces[2]!, '--json', '--flip', flip]);
    const got = JSON.parse(stdout);
    const want = combineFlip(upright, mirrored, 16, flip);
    expect(got.dim).toBe(want.dim);
    expect(Float32Array.from(got.embeddings[0].embedding)).toEqual(want.embeddings);
  }
  const { stdout } = await facegrad(['embed', '--weights', weights, faces[2]!, '--json', '--unit']);
  const unit = JSON.parse(stdout).embeddings[0].embedding as number[];
  expect(Math.hypot(...unit)).toBeCloseTo(1, 6);
});

it('scales pictures of another size and says so once', async () => {
  const big = join(folder, 'big');
  mkdirSync(big);
  for (const s of [0, 1]) writeFileSync(join(big, `${s}.png`), encodePng(picture(0, s, 48)));
  const ended = await facegrad(['embed', '--weights', weights, big, '--json']);
  expect(ended.code).toBe(0);
  expect(
    ended.stderr.match(/warning: .*48x48 pixels, the network takes 32x32: such pictures are scaled/g),
  ).toHaveLength(1);
  expect(JSON.parse(ended.stdout).embeddings).toHaveLength(2);
});

it('bad input: one clear message, nothing written', async () => {
  const text = join(folder, 'text.png');
  writeFileSync(text, 'no picture');
  const cut = join(folder, 'cut.png');
  writeFileSync(cut, readFileSync(faces[0]!).subarray(0, 200));
  const shortened = join(folder, 'short.safetensors');
  writeFileSync(shortened, bytes.subarray(0, bytes.length - 100));
  mkdirSync(join(folder, 'none'));
  const out = join(folder, 'bad.npy');
  for (const [args, code, message] of [
    [[faces[0]!], 2, /--out FILE\.npy .*, or --json/],
    [[faces[0]!, '--out', join(folder, 'x.txt')], 2, /ends in \.npy/],
    [[faces[0]!, '--out', out, '--suffix', '_a.bin'], 2, /--suffix: expected --out FOLDER\//],
    [[faces[0]!, faces[0]!, '--out', `${join(folder, 'twice')}/`], 2, /would be '.*\.feat' again/],
    [[faces[0]!, '--out', join(folder, 'none/there/x.npz')], 1, /expected its folder to be there/],
    [[faces[0]!, '--out', out, '--flip', 'twice'], 2, /--flip: expected none, sum, unitSum, concat, got 'twice'/],
    [[join(folder, 'missing.png'), '--out', out], 1, /missing\.png: ENOENT/],
    [[join(folder, 'none'), '--out', out], 1, /none: expected .jpg or .png pictures in this folder, found none/],
    [[faces[0]!, text, '--out', out], 1, /text\.png: neither JPEG nor PNG/],
    [[faces[0]!, cut, '--out', out], 1, /cut\.png: damaged or incomplete PNG/],
  ] as [string[], number, RegExp][]) {
    const ended = await facegrad(['embed', '--weights', weights, ...args]);
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code, args.join(' ')).toBe(code);
  }
  const ended = await facegrad(['embed', '--weights', shortened, faces[0]!, '--out', out]);
  expect(ended.stderr).toMatch(/short\.safetensors: .*cut off/);
  expect(ended.code).toBe(1);
  expect(existsSync(out)).toBe(false);
});
