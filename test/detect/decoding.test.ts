/** What detectors make of their networks' numbers: anchors, boxes, pyramids, places; and pixels of pictures of any size. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/core/errors.ts';
import { atMost, backTo, rgbOf, toMultiple, within } from '../../src/detect/detection.ts';
import { drawDetections } from '../../src/detect/draw.ts';
import { placesOf, pyramidScales } from '../../src/detect/mtcnn.ts';
import { decodeRetinaFace, retinaFaceAnchors } from '../../src/detect/retinaFace.ts';
import { decodeUltraFace } from '../../src/detect/ultraFace.ts';
import { picture } from '../helpers/pictures.ts';

describe('RetinaFace', () => {
  it('has anchors about the centres of places, maps rounded up', () => {
    // 41x33: maps of 6x5, 3x3 and 2x2.
    const anchors = retinaFaceAnchors([41, 33]);
    expect(anchors.length).toBe(3 * 2 * (30 + 9 + 4));
    expect([...anchors.subarray(0, 12)]).toEqual([4, 4, 16, 4, 4, 32, 12, 4, 16, 12, 4, 32]);
    const second = 6 * 30;
    expect([...anchors.subarray(second, second + 6)]).toEqual([8, 8, 64, 8, 8, 128]);
    expect([...anchors.subarray(-3)]).toEqual([48, 48, 512]);
  });
  it('decodes what encodes a box and its points', () => {
    const size = [320, 256] as const;
    const anchors = retinaFaceAnchors(size);
    const n = anchors.length / 3;
    fc.assert(
      fc.property(
        fc.nat(n - 1),
        fc.array(fc.double({ min: -300, max: 600, noNaN: true }), { minLength: 12, maxLength: 12 }),
        fc.double({ min: 0.61, max: 1, noNaN: true }),
        (i, [x, y, ...points], sure) => {
          const [w, h] = [20 + (i % 50), 30 + (i % 40)];
          const [ax, ay, side] = anchors.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number];
          const loc = new Float64Array(4 * n);
          const conf = new Float64Array(2 * n).fill(0.5);
          const lm = new Float64Array(10 * n);
          loc.set(
            [(x! - ax) / (0.1 * side), (y! - ay) / (0.1 * side), Math.log(w / side) / 0.2, Math.log(h / side) / 0.2],
            4 * i,
          );
          lm.set(
            points.map((v, k) => (v - (k % 2 ? ay : ax)) / (0.1 * side)),
            10 * i,
          );
          conf.set([1 - sure, sure], 2 * i);
          const [face, ...others] = decodeRetinaFace({ loc, conf, lm }, size, { score: 0.6, overlap: 0.4 });
          expect(others).toEqual([]);
          expect(face!.score).toBe(sure);
          // Boxes are kept in float32.
          const near = (got: readonly number[], want: readonly number[], most: number) =>
            got.forEach((v, k) => {
              expect(Math.abs(v - want[k]!)).toBeLessThanOrEqual(most);
            });
          near(face!.box, [x! - w / 2, y! - h / 2, x! + w / 2, y! + h / 2], 1024 * 2 ** -24);
          near(face!.points!, points, 1024 * 2 ** -48);
        },
      ),
      { numRuns: 30 },
    );
  });
});

describe('Ultra-Light', () => {
  it('scales shares to pixels, above the score, the best of those that overlap', () => {
    const scores = [0.1, 0.9, 0.2, 0.8, 0.4, 0.6, 0.05, 0.95];
    const boxes = [0.1, 0.2, 0.3, 0.4, 0.11, 0.2, 0.31, 0.4, 0.5, 0.5, 0.6, 0.6, 0.5, 0.5, 0.75, 1];
    const found = decodeUltraFace(scores, boxes, { width: 200, height: 100 }, { score: 0.7, overlap: 0.3 });
    expect(found.map((f) => f.score)).toEqual([0.95, 0.9]);
    const f = Math.fround;
    expect(found[1]!.box).toEqual([f(0.1) * 200, f(0.2) * 100, f(0.3) * 200, f(0.4) * 100]);
    expect(found[0]!.box).toEqual([100, 50, 150, 100]);
  });
});

describe('MTCNN', () => {
  it('halves the picture while it holds a cell of 12 pixels', () => {
    expect(pyramidScales([480, 640], 24, 0.5)).toEqual([0.5, 0.25, 0.125, 0.0625, 0.03125]);
    expect(pyramidScales([20, 640], 20, 0.709)).toEqual([0.6]);
    expect(pyramidScales([19, 640], 20, 0.709)).toEqual([]);
  });
  it('P-Net looks at cells of 12 pixels, every second one', () => {
    // Two rows of three places at half size; the threshold counts as passed.
    const prob = Float32Array.of(0.5, 0.5, 0.4, 0.6, 0.9, 0.1, 0.9, 0.1, 0.9, 0.1, 0.2, 0.8);
    const found = placesOf(
      prob,
      Array.from({ length: 24 }, (_, i) => i),
      3,
      0.5,
      0.6,
    );
    expect(found.map((c) => [...c.box])).toEqual([
      [6, 2, 28, 24],
      [10, 6, 32, 28],
    ]);
    expect(found.map((c) => [...c.reg])).toEqual([
      [4, 5, 6, 7],
      [20, 21, 22, 23],
    ]);
  });
});

describe('pictures of any size', () => {
  it('come down to the longest side asked for, and detections go back', () => {
    const { image, factors } = atMost(picture(1, 1, 100), 40);
    expect([image.width, image.height, ...factors]).toEqual([40, 40, 2.5, 2.5]);
    expect(atMost(picture(1, 1, 30), 40).image.width).toBe(30);
    const high = { width: 491, height: 736, data: new Uint8Array(3 * 491 * 736) };
    const seen = atMost(high, 128);
    expect([seen.image.width, seen.image.height]).toEqual([85, 128]);
    expect(seen.factors).toEqual([491 / 85, 736 / 128]);
    expect(backTo({ box: [1, 2, 3, 4], score: 0.5, points: [1, 2, 3, 4] }, [2, 10])).toEqual({
      box: [2, 20, 6, 40],
      score: 0.5,
      points: [2, 20, 6, 40],
    });
  });
  it('fit into one size, the rest in one colour', () => {
    const { image, factors } = within({ width: 4, height: 2, data: new Uint8Array(24).fill(200) }, 8, 8, [1, 2, 3]);
    expect([image.width, image.height, ...factors]).toEqual([8, 8, 0.5, 0.5]);
    expect([...image.data.subarray(0, 8 * 4 * 3)].every((v) => v === 200)).toBe(true);
    expect([...image.data.subarray(8 * 4 * 3, 8 * 4 * 3 + 6)]).toEqual([1, 2, 3, 1, 2, 3]);
    const filled = toMultiple({ image: picture(1, 1, 10), factors: [2, 3] }, 8, [1, 2, 3]);
    expect([filled.image.width, filled.image.height, ...filled.factors]).toEqual([16, 16, 2, 3]);
    expect([...filled.image.data.subarray(3 * 9, 3 * 11)]).toEqual([
      ...picture(1, 1, 10).data.subarray(3 * 9, 3 * 10),
      ...[1, 2, 3],
    ]);
    const whole = picture(1, 1, 8);
    expect(within(whole, 8, 8, [0, 0, 0]).image).toBe(whole);
  });
  it('may be RGBA; other lengths are refused', () => {
    const rgba = { width: 2, height: 1, data: Uint8ClampedArray.of(1, 2, 3, 255, 4, 5, 6, 0) };
    expect([...rgbOf(rgba).data]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(() => rgbOf({ width: 2, height: 2, data: new Uint8Array(8) })).toThrow(ShapeError);
    expect(() => rgbOf({ width: 0, height: 2, data: new Uint8Array(0) })).toThrow(ShapeError);
  });
});

describe('drawDetections', () => {
  it('marks box, points and score on a copy, cut at the edges', () => {
    const plain = { width: 120, height: 100, data: new Uint8Array(120 * 100 * 3) };
    const face = { box: [20, 30, 60, 80] as const, score: 0.987, points: [30, 45, 50, 45, 40, 55, 32, 65, 48, 65] };
    const off = { box: [-50, -20, 500, 300] as const, score: 1 };
    const drawn = drawDetections(plain, [face, off]);
    const at = (x: number, y: number) => [...drawn.data.subarray(3 * (y * 120 + x), 3 * (y * 120 + x) + 3)];
    expect(at(20, 50)).toEqual([0, 255, 80]);
    expect(at(40, 80)).toEqual([0, 255, 80]);
    expect(at(40, 55)).toEqual([255, 230, 0]);
    expect(at(30, 45)).not.toEqual(at(50, 45));
    // The score stands on a plate above the box.
    expect(at(19, 18)).toEqual([0, 255, 80]);
    expect(at(40, 40)).toEqual([0, 0, 0]);
    expect(plain.data.every((v) => v === 0)).toBe(true);
  });
});
