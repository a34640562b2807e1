/**
 * Detectors without published numbers: which graphs they are told to be, and that the way from picture to boxes is right where
 * every anchor and every cell is as sure as the next.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import { host } from '../../src/core/tensor.ts';
import { nms } from '../../src/detect/nms.ts';
import { detectorOf, openDetector } from '../../src/detect/open.ts';
import { retinaFace, retinaFaceAnchors } from '../../src/detect/retinaFace.ts';
import { SizedNetworks } from '../../src/detect/sizedNetworks.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { mtcnnGraph, mtcnnGraphs } from '../../src/models/detectors/mtcnn.ts';
import { detectorFacts, recogniseDetector } from '../../src/models/detectors/recognise.ts';
import { retinaFaceGraph } from '../../src/models/detectors/retinaFace.ts';
import { GraphBuilder } from '../../src/models/graph/builder.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { zeros } from '../../src/ops/index.ts';
import { TraceContext } from '../../src/plan/trace.ts';
import { modelBytes } from '../../src/weights/import.ts';
import { picture } from '../helpers/pictures.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

const device = await WasmDevice.create({ threads: 2 });
afterAll(() => device.dispose());

/** Ultra-Light's outputs for 64x64 pixels, from one pooled pixel: 3·64 + 2·16 + 2·4 + 3 anchors. */
function ultraLike({ decoded = true, anchors = 3 * 64 + 2 * 16 + 2 * 4 + 3 } = {}) {
  const b = new GraphBuilder();
  const x = b.apply('reduce', [b.input('x', [64, 64, 3])], { kind: 'mean', axes: [1, 2, 3] });
  const rows = (n: number, name: string) => {
    const weight = host(new Float32Array(n * anchors), [1, n * anchors]);
    return b.reshape(b.linear(b.reshape(x, [1, 1]), { weight }, name), [1, anchors, n], `${name}.rows`);
  };
  const boxes = rows(4, 'boxes');
  return b.finish({
    sure: b.apply('softmax', [rows(2, 'sure')]),
    where: decoded ? b.apply('exp', [boxes]) : boxes,
  });
}

describe('what a graph is', () => {
  it('is told by what it gives, whatever the names', () => {
    expect(recogniseDetector(graphNetwork(retinaFaceGraph([50, 70])))).toEqual({
      kind: 'retinaface',
      loc: 'loc',
      conf: 'conf',
      lm: 'lm',
    });
    expect(recogniseDetector(graphNetwork(mtcnnGraphs()))).toEqual({ kind: 'mtcnn' });
    expect(recogniseDetector(graphNetwork(ultraLike()))).toEqual({ kind: 'ultraface', scores: 'sure', boxes: 'where' });
    expect(recogniseDetector(graphNetwork(ultraLike({ anchors: 234 })))).toBeUndefined();
    expect(recogniseDetector(graphNetwork(mtcnnGraph('onet')))).toBeUndefined();
  });
  it('may be none: refused with what it gives', async () => {
    const onet = graphNetwork(mtcnnGraph('onet'));
    await expect(detectorOf(onet, device)).rejects.toThrow(/got a graph that gives prob, reg, points/);
    await expect(detectorOf(graphNetwork(ultraLike({ decoded: false })), device)).rejects.toThrow(/boxes decoded/);
    const face = await weightsOf(tinyNetwork());
    await expect(openDetector(face, { device })).rejects.toThrow(/a network that embeds faces/);
    const networks = graphNetwork(mtcnnGraphs());
    const file = await modelBytes(networks, detectorFacts(networks).metadata);
    await expect(loadEmbedder(file, { device })).rejects.toThrow(/embeds faces, got the detector mtcnn\nOpen it with/);
    expect(() => networks.call(zeros([1, 12, 12, 3]), new TraceContext(false))).toThrow(
      /one input, got pnet, rnet, onet/,
    );
    await expect(openDetector(new Uint8Array(20), { device })).rejects.toThrow(DataError);
    await expect(detectorOf(graphNetwork(ultraLike()), device, { minFace: 30 })).rejects.toThrow(UsageError);
  });
});

describe('RetinaFace of zeros', () => {
  it('gives every anchor that suppression leaves, half sure', async () => {
    const bytes = await modelBytes(graphNetwork(retinaFaceGraph([64, 64])));
    const detector = await openDetector(bytes, { device, score: 0.4, overlap: 0.4, maxSide: 70 });
    const anchors = retinaFaceAnchors([70, 50]);
    const boxes: number[] = [];
    for (let i = 0; i < anchors.length; i += 3) {
      const [x, y, side] = anchors.subarray(i, i + 3) as unknown as [number, number, number];
      boxes.push(x - side / 2, y - side / 2, x + side / 2, y + side / 2);
    }
    const kept = nms(boxes, new Float32Array(anchors.length / 3).fill(0.5), { threshold: 0.4, edge: 1 });
    const data = new Uint8Array(3 * 100 * 140).fill(90);
    const faces = await detector.detect({ width: 100, height: 140, data });
    expect(faces.map((f) => f.score)).toEqual(kept.map(() => 0.5));
    expect(faces.map((f) => f.box)).toEqual(kept.map((i) => boxes.slice(4 * i, 4 * i + 4).map((v) => 2 * v)));
    expect(faces[0]!.points).toEqual([8, 8, 8, 8, 8, 8, 8, 8, 8, 8]);
    await detector.dispose();
    expect(kept.length).toBeGreaterThan(5);
  });
  it('of one size only takes pictures that are fitted into it', async () => {
    const { spec, tensors } = retinaFaceGraph([64, 64]);
    const rows = retinaFaceAnchors([64, 64]).length / 3;
    const loc = spec.outputs.find((o) => o.name === 'loc')!.value;
    const cut = { op: 'slice', path: 'cut', inputs: [loc], outputs: ['cut'], attrs: { axis: 1, start: 0, end: rows } };
    const outputs = spec.outputs.map((o) => (o.name === 'loc' ? { ...o, value: 'cut' } : o));
    const network = graphNetwork({ spec: { ...spec, nodes: [...spec.nodes, cut], outputs }, tensors });
    const detector = await detectorOf(network, device, { score: 0.4 });
    // 32 pixels are brought up to 64, so an anchor of 16 is one of 8.
    expect((await detector.detect(picture(1, 1, 32)))[0]!.box).toEqual([-2, -2, 6, 6]);
    const free = await detectorOf(graphNetwork({ spec, tensors }), device, { score: 0.4 });
    expect((await free.detect(picture(1, 1, 32)))[0]!.box).toEqual([-4, -4, 12, 12]);
    await detector.dispose();
    await free.dispose();
  });
  it('before a softmax is made sure of', async () => {
    const network = graphNetwork(retinaFaceGraph([64, 64]));
    const names = { loc: 'loc', conf: 'conf', lm: 'lm' };
    const detector = retinaFace({ make: () => network, only: [64, 64], names, logits: true }, device, { score: 0.4 });
    const faces = await detector.detect(picture(1, 1, 32));
    // Halves once more through a softmax stay halves; boxes are back in a picture of half the size.
    expect(faces[0]).toMatchObject({ score: 0.5, box: [-2, -2, 6, 6] });
    await detector.dispose();
  });
});

describe('MTCNN of zeros', () => {
  it('gives squares in the picture, half sure', async () => {
    const detector = await detectorOf(graphNetwork(mtcnnGraphs()), device, {
      minFace: 12,
      score: 0.4,
      thresholds: [0.4, 0.4],
    });
    const faces = await detector.detect(picture(1, 1, 40));
    expect(faces.length).toBeGreaterThan(3);
    for (const { box, score, points } of faces) {
      expect(score).toBe(0.5);
      expect(box[2] - box[0]).toBe(box[3] - box[1]);
      // Points at the corner, which the networks count from 1.
      expect(points).toEqual(Array.from({ length: 10 }, (_, i) => box[i % 2]! - 1));
    }
    expect(await detector.detect(picture(1, 1, 11))).toEqual([]);
    await detector.dispose();
  });
});

describe('networks by size', () => {
  it('come and go without changing what they give', async () => {
    const made: string[] = [];
    const networks = new SizedNetworks(
      device,
      ([h, w]) => {
        made.push(`${h}x${w}`);
        const b = new GraphBuilder();
        const x = b.input('x', [h, w, 3]);
        const weight = host(Float32Array.of(1, 2, 3), [1, 1, 3, 1]);
        return graphNetwork(b.finish({ y: b.conv2d(x, { weight }) }));
      },
      (x) => x,
      2,
    );
    const run = async (h: number, w: number) => {
      const pixels = Float32Array.from({ length: 3 * h * w }, (_, i) => i);
      const { y } = await networks.run(host(pixels, [1, h, w, 3]));
      expect([...y!.data]).toEqual(Array.from({ length: h * w }, (_, i) => 3 * i + 2 * (3 * i + 1) + 3 * (3 * i + 2)));
    };
    await Promise.all([run(2, 3), run(4, 1), run(2, 3), run(5, 5), run(4, 1)]);
    // 4x1 was not used for longest when 5x5 came.
    expect(made).toEqual(['2x3', '4x1', '5x5', '4x1']);
    await networks.dispose();
    await run(2, 3);
    await networks.dispose();
  });
});
