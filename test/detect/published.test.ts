/**
 * Published detectors, from the files they come in, on photographs: the reference programs' boxes, points and scores. The
 * large photographs are in published.long.test.ts.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { openDetector } from '../../src/detect/open.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { graphAt } from '../../src/models/detectors/graphAt.ts';
import { GraphNetwork, graphNetwork } from '../../src/models/graph/network.ts';
import { stateOf, variablesOf } from '../../src/nn/module.ts';
import { importModel, modelBytes } from '../../src/weights/import.ts';
import { publishedSource } from '../helpers/published.ts';
import { mtcnnBounds, retinaFaceBounds } from './bounds.ts';
import {
  farthestOf,
  heldToPhoto,
  inputOf,
  nativePhotos,
  noses,
  outputsOf,
  photo,
  photosPresent,
  roundingOf,
  truthOf,
} from './photos.ts';

const device = await WasmDevice.create({ threads: 2 });
afterAll(() => device.dispose());

const retina = publishedSource('retinaface-mobile0.25', 'mobilenet0.25_Final.pth');
const retinaOnnx = publishedSource('retinaface-mobile0.25', 'retinaface_mobile025.onnx');
/** 348x522 pixels. */
const small = 'compreface/009_C.jpg';
const graphOf = async (source: ReturnType<typeof publishedSource>, inputSize?: readonly [number, number]) => {
  const { network } = await importModel(source, { inputSize });
  if (!(network instanceof GraphNetwork)) throw new Error('expected a graph');
  return network;
};

const retinaBounds = photosPresent ? graphOf(retina).then(retinaFaceBounds) : undefined;

describe.runIf(photosPresent)("RetinaFace's state gives the reference's detections", async () => {
  const detector = photosPresent ? await openDetector(retina, { device, score: 0.5 }) : undefined;
  const bounds = await retinaBounds;
  afterAll(() => detector?.dispose());
  it.each(nativePhotos)('%s, to the digits of the file', (name) =>
    heldToPhoto(detector!, name, 'retinaface', 0.5, bounds!),
  );
  it('holds the reference to hundredths of a pixel', () => {
    expect(bounds!.pixels).toBeLessThan(0.02);
    expect(bounds!.score).toBeLessThan(1e-4);
  });
  it('of a photograph of 12 megapixels, brought down to 1280 first, within 1.6 % of the eye distance', () =>
    // Twice the digits of the file, which are of the large picture.
    heldToPhoto(detector!, 'compreface/004_A.jpg', 'retinaface', 0.83, { ...bounds!, score: 0.01, eyes: 0.016 }));
  it('the same from a file that facegrad wrote', async () => {
    const { network, metadata, notes } = await importModel(retina);
    expect(metadata.detector).toBe('retinaface');
    expect(notes.join()).toMatch(/RetinaFace: facegrad detect/);
    expect(network.preprocessing).toMatchObject({ colourOrder: 'BGR', mean: [104, 117, 123], scale: 1 });
    const again = await openDetector(await modelBytes(network, metadata), { device, score: 0.5 });
    expect(await again.detect(photo(small))).toEqual(await detector!.detect(photo(small)));
    await again.dispose();
  });
  it('refuses options of other detectors', async () => {
    await expect(openDetector(retina, { device, minFace: 20 })).rejects.toThrow(
      /options among score, overlap, maxSide, multiple/,
    );
  });
});

describe.runIf(photosPresent)('RetinaFace from ONNX', () => {
  it('is the same network as the state', async () => {
    const size = [64, 64] as const;
    const [own, other] = [await graphOf(retinaOnnx, size), await stateAt(size)];
    const input = await inputOf(small, [140, 110], own);
    const folded = farthestOf(await truthOf(own, input), await truthOf(other, input));
    const rounding = [await roundingOf(own, input), await roundingOf(other, input)] as const;
    const whole = [522, 348] as const;
    const [a, b] = [await graphOf(retinaOnnx, whole), await stateAt(whole)];
    const picture = await inputOf(small, [0, 0], a);
    const far = farthestOf(await outputsOf(a, picture, device), await outputsOf(b, picture, device));
    // Batch norm is folded in the file, its factors rounded to float32 once more.
    for (const name of ['loc', 'conf', 'lm'])
      expect(far[name]!, name).toBeLessThanOrEqual(4 * (folded[name]! + rounding[0][name]! + rounding[1][name]!));
    expect(far.loc!).toBeLessThan(1e-4);
    // The file converted for another size, taken to this one.
    const at = await graphOf(retinaOnnx, [64, 64]);
    const moved = graphNetwork({ spec: graphAt(at.options.graph, whole), tensors: await stateOf(variablesOf(at)) });
    expect(farthestOf(await outputsOf(moved, picture, device), await outputsOf(a, picture, device))).toEqual({
      loc: 0,
      conf: 0,
      lm: 0,
    });
  });
  it.each(['the file itself', 'what import made of it'])('%s takes every picture at its own size', async (from) => {
    const { network, metadata } = await importModel(retinaOnnx);
    const file = from === 'the file itself' ? retinaOnnx : await modelBytes(network, metadata);
    const detector = await openDetector(file, { device, score: 0.5 });
    const bounds = (await retinaBounds)!;
    // The export's weights differ from the state's in their last bits.
    for (const name of [small, 'compreface/017_0.jpg', 'compreface/011_3.jpg'])
      await heldToPhoto(detector, name, 'retinaface', 0.5, { score: 1e-4, pixels: 2 * bounds.pixels });
    await detector.dispose();
  });
  async function stateAt(inputSize: readonly [number, number]) {
    const imported = await graphOf(retina);
    const tensors = await stateOf(variablesOf(imported));
    const network = graphNetwork({ spec: graphAt(imported.options.graph, inputSize), tensors });
    network.preprocessing = { ...imported.preprocessing, inputSize };
    return network;
  }
});

describe.runIf(photosPresent)(
  "MTCNN's three networks give the reference's detections, false ones included",
  async () => {
    const source = publishedSource('mtcnn', 'pnet.pt');
    const detector = photosPresent ? await openDetector(source, { device }) : undefined;
    const bounds = photosPresent ? await mtcnnBounds(await graphOf(source)) : undefined;
    afterAll(() => detector?.dispose());
    it.each(nativePhotos)('%s, to the digits of the file', (name) => heldToPhoto(detector!, name, 'mtcnn', 0, bounds!));
    it('holds the reference to hundredths of a pixel', () => {
      expect(bounds!.pixels).toBeLessThan(0.02);
      expect(bounds!.score).toBeLessThan(1e-4);
    });
  },
);

describe.runIf(photosPresent).each([320, 640])('Ultra-Light at %i', (width) => {
  const name = `version-RFB-${width}.onnx`;
  const source = publishedSource('ultraface', name);
  it('finds the annotated faces and nothing else', async () => {
    const detector = await openDetector(source, { device });
    for (const photograph of nativePhotos.filter((n) => n.startsWith('compreface/'))) {
      const faces = await detector.detect(photo(photograph));
      const seen = noses(photograph);
      const inside = seen.map(
        ([x, y]) => faces.filter(({ box: b }) => b[0] < x && x < b[2] && b[1] < y && y < b[3]).length,
      );
      expect(inside, photograph).toEqual(seen.map(() => 1));
      expect(faces.length, photograph).toBe(seen.length);
      expect(faces.every((f) => f.points === undefined)).toBe(true);
    }
    await detector.dispose();
  });
});
