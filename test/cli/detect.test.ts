/** `facegrad detect` as a process: text, JSON, drawings, and points that prepare aligns by. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parseLandmarks } from '../../src/data/landmarks.ts';
import { drawDetections } from '../../src/detect/draw.ts';
import { openDetector } from '../../src/detect/open.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { decodeImage } from '../../src/image/decode.ts';
import { retinaFaceGraph } from '../../src/models/detectors/retinaFace.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { modelBytes } from '../../src/weights/import.ts';
import { facegrad } from '../helpers/killedRuns.ts';
import { picture, writePeople } from '../helpers/pictures.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-detect-'));
afterAll(() => rmSync(folder, { recursive: true }));
const detector = join(folder, 'detector.safetensors');
/** Of zeros: every anchor is half sure. */
const bytes = await modelBytes(graphNetwork(retinaFaceGraph([64, 64])));
writeFileSync(detector, bytes);
const people = writePeople(join(folder, 'people'), 2, 2);
const one = people[0]![0]!;
const common = ['--detector', detector, '--device', 'wasm', '--threads', '2'];

describe('facegrad detect', () => {
  it('prints what the library finds, and draws it', async () => {
    const device = await WasmDevice.create({ threads: 1 });
    const own = await openDetector(bytes, { device, score: 0.4 });
    const faces = await own.detect(picture(0, 0));
    await own.dispose();
    await device.dispose();
    const drawing = join(folder, 'drawn.png');
    const ended = await facegrad(['detect', one, ...common, '--score', '0.4', '--draw', drawing, '--json']);
    expect(ended.stderr).toBe('');
    const told = JSON.parse(ended.stdout);
    expect(told.drawings).toEqual([drawing]);
    const [found] = told.pictures;
    expect([found.name, found.width, found.height]).toEqual([one, 32, 32]);
    expect(found.faces.map((f: { box: number[] }) => f.box)).toEqual(faces.map((f) => f.box));
    expect(found.faces[0].points).toEqual([0, 2, 4, 6, 8].map((k) => faces[0]!.points!.slice(k, k + 2)));
    expect(decodeImage(readFileSync(drawing), drawing).data).toEqual(drawDetections(picture(0, 0), faces).data);
    const text = await facegrad(['detect', one, ...common, '--score', '0.4']);
    expect(text.stdout).toMatch(/32x32, \d+ faces\n {2}0\.5000 {2}box -4\.0 -4\.0 12\.0 12\.0 {2}points 4\.0,4\.0/);
  });
  it('says of which pictures it found none, and draws several into a folder', async () => {
    const ended = await facegrad(['detect', join(folder, 'people'), ...common, '--draw', `${join(folder, 'all')}/`]);
    expect(ended.code).toBe(0);
    expect(ended.stdout.match(/32x32, 0 faces/g)!.length).toBe(4);
    expect(readdirSync(join(folder, 'all')).sort()).toEqual([
      'Person_0_Person_0_0001.png',
      'Person_0_Person_0_0002.png',
      'Person_1_Person_1_0001.png',
      'Person_1_Person_1_0002.png',
    ]);
  });
  it('writes the points of the face asked for, a picture each', async () => {
    const out = join(folder, 'points.json');
    const args = ['detect', join(folder, 'people'), ...common, '--score', '0.4', '--landmarks', out];
    const of = async (rule: string) => {
      const ended = await facegrad([...args, '--face', rule]);
      expect(ended.stdout).toMatch(new RegExp(`points of 4 pictures, of each the ${rule} face`));
      return parseLandmarks(readFileSync(out, 'utf8'), out);
    };
    const largest = await of('largest');
    expect(largest.size).toBe(4);
    // Anchors of 512 pixels stand about the place of 32.
    expect(largest.find('Person_1/Person_1_0002.png')).toEqual(new Array(10).fill(16));
    expect((await of('surest')).find(one)).toEqual(new Array(10).fill(4));
  });
  it('refuses what does not go together', async () => {
    const refused = async (args: string[], message: RegExp, code = 2) => {
      const ended = await facegrad(['detect', ...args]);
      expect(ended.stderr).toMatch(message);
      expect(ended.code).toBe(code);
    };
    await refused([one], /--detector/);
    await refused(
      [join(folder, 'people'), ...common, '--draw', join(folder, 'x.png')],
      /folder for the drawings of several/,
    );
    await refused(
      [one, ...common, '--min-face', '30'],
      /retinaface: expected options among score, overlap, maxSide, multiple/,
    );
    await refused(
      [one, ...common, '--landmarks', join(folder, 'none.json')],
      /expected faces in the pictures, found none/,
      1,
    );
    const face = join(folder, 'face.safetensors');
    writeFileSync(face, await weightsOf(tinyNetwork()));
    await refused([one, '--detector', face], /expected a detector, got a network that embeds faces/, 1);
    await refused([one, '--detector', join(folder, 'nothing.onnx')], /nothing\.onnx/, 1);
    expect(existsSync(join(folder, 'x.png'))).toBe(false);
  });
});

const shared = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const present = existsSync(`${shared}verify/lfw250/expected.json`);
if (!present) console.log(`detect on photographs skipped: there is no ${shared}verify/lfw250`);

describe.runIf(present)('photographs to crops', () => {
  it('detect, then prepare --align, gives the crops of the reference', async () => {
    const { images } = JSON.parse(readFileSync(`${shared}verify/lfw250/expected.json`, 'utf8')) as {
      images: Record<string, { points: number[][]; crop: string }>;
    };
    const photographs = `${shared}verify/lfw250/images`;
    const weights = `${shared}weights/retinaface-mobile0.25/mobilenet0.25_Final.pth`;
    const points = join(folder, 'lfw.json');
    // The reference filled the photographs up to 256x256.
    const told = await facegrad([
      ...['detect', photographs, '--detector', weights, '--multiple', '32', '--device', 'wasm'],
      ...['--face', 'central', '--landmarks', points],
    ]);
    expect(told.code, told.stderr).toBe(0);
    const landmarks = parseLandmarks(readFileSync(points, 'utf8'), points);
    const crops = join(folder, 'crops');
    const made = await facegrad(['prepare', photographs, `${crops}/`, '--align', points, '--encode', 'png']);
    expect(made.code, made.stderr).toBe(0);
    for (const [name, { points: want, crop }] of Object.entries(images)) {
      const found = landmarks.find(name)!;
      found.forEach((v, i) => {
        // Both files have two decimals.
        expect(Math.abs(v - want.flat()[i]!), name).toBeLessThan(0.0101);
      });
      const file = `${shared}verify/lfw250/crops/${crop}`;
      const reference = decodeImage(readFileSync(file), file).data;
      const own = decodeImage(readFileSync(join(crops, name.replace(/\.jpg$/, '.png'))), name).data;
      expect(own.length).toBe(reference.length);
      const most = own.reduce((m, v, i) => Math.max(m, Math.abs(v - reference[i]!)), 0);
      // OpenCV's places are rounded, which is worth two levels; a hundredth of a pixel is worth as much on the sharpest edge.
      expect(most, name).toBeLessThanOrEqual(2 + 255 * 0.01);
    }
  });
});
