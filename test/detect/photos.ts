/** The reference detections on photographs under ../shared, and how far a detector's own are from them. */
import { existsSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Detection, Detector } from '../../src/detect/detection.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { decodeImage, type RgbImage } from '../../src/image/decode.ts';
import type { GraphNetwork } from '../../src/models/graph/network.ts';
import { preprocess } from '../../src/models/network.ts';

const data = new URL('../../../shared/data/', import.meta.url);
export const photosPresent = existsSync(new URL('photos/expected.json', data));
if (!photosPresent) console.log(`skipped: no photographs under ${data.pathname}`);

interface Reference {
  readonly score: number;
  readonly box: readonly number[];
  readonly points: readonly (readonly number[])[];
  readonly annotated: number | null;
}
interface Photo {
  readonly width: number;
  readonly height: number;
  /** How many faces people see. */
  readonly faces: number | null;
  readonly retinaface: { readonly ranAt: readonly [number, number]; readonly detections: readonly Reference[] };
  readonly mtcnn?: { readonly detections: readonly Reference[] };
}

export const photos: ReadonlyMap<string, Photo> = photosPresent
  ? new Map(Object.entries(JSON.parse(readFileSync(new URL('photos/expected.json', data), 'utf8')).photos))
  : new Map();
/** Those that the references saw at their own size. */
export const nativePhotos = [...photos].filter(([, p]) => Math.max(p.width, p.height) <= 1280).map(([name]) => name);

const decoded = new Map<string, RgbImage>();
export function photo(name: string): RgbImage {
  const known = decoded.get(name);
  if (known) return known;
  const image = decodeImage(new Uint8Array(readFileSync(new URL(`photos/${name}`, data))), name);
  // The large ones are not kept.
  if (Math.max(image.width, image.height) <= 1280) decoded.set(name, image);
  return image;
}

/** Noses as annotated, by photograph. */
export function noses(name: string): readonly (readonly [number, number])[] {
  const { photos: all } = JSON.parse(readFileSync(new URL('photos/compreface/annotations.json', data), 'utf8'));
  return all[name.replace(/^.*\//, '')]?.noses ?? [];
}

const far = (got: readonly number[], want: readonly number[]) => Math.max(...got.map((v, i) => Math.abs(v - want[i]!)));

/** How far a detector may be from the reference. */
export interface Bounds {
  readonly score: number;
  readonly pixels: number;
  /** Beside the pixels, in eye distances of the reference. */
  readonly eyes?: number;
}
/** The file has five decimals of scores and two of pixels. */
export const digits: Bounds = { score: 0.5e-5, pixels: 0.5e-2 };

/** Outputs of a network by name. */
export type Outputs = Readonly<Record<string, ArrayLike<number>>>;

/** What a network gives for input [1, H, W, 3] as it takes it. */
export async function outputsOf(network: GraphNetwork, input: Float32Array, device: Device): Promise<Outputs> {
  const [height, width] = network.options.graph.inputs[0]!.shape as [number, number];
  const run = compile(({ x }, ctx) => Object.fromEntries(network.outputs([x!], ctx)), { device });
  const made = await run({ x: host(input, [1, height, width, 3]) });
  run.dispose();
  return Object.fromEntries(Object.entries(made).map(([name, t]) => [name, t.data]));
}

/** The truth, in float64. */
export const truthOf = (network: GraphNetwork, input: Float32Array): Promise<Outputs> =>
  outputsOf(network, input, new ReferenceDevice());

/** How far a plain float32 program's outputs are from those in float64, at most, by name. */
export async function roundingOf(network: GraphNetwork, input: Float32Array): Promise<Record<string, number>> {
  const plain = await outputsOf(network, input, new ReferenceDevice(Math.fround));
  return farthestOf(plain, await truthOf(network, input));
}

export const farthestOf = (a: Outputs, b: Outputs): Record<string, number> =>
  Object.fromEntries(
    Object.entries(a).map(([name, x]) => {
      const y = b[name]!;
      let most = x.length === y.length ? 0 : Number.POSITIVE_INFINITY;
      for (let i = 0; i < x.length; i++) most = Math.max(most, Math.abs(x[i]! - y[i]!));
      return [name, most];
    }),
  );

/** A part of a photograph as input of a network of its size. */
export async function inputOf(name: string, [left, top]: readonly [number, number], network: GraphNetwork) {
  const { width, data: pixels } = photo(name);
  const [h, w] = network.options.graph.inputs[0]!.shape as [number, number];
  const bytes = new Uint8Array(3 * h * w);
  for (let y = 0; y < h; y++)
    bytes.set(pixels.subarray(3 * ((top + y) * width + left), 3 * ((top + y) * width + left + w)), 3 * y * w);
  return prepared(bytes, network);
}
/** RGB bytes of a network's input size as it takes them. */
export async function prepared(bytes: Uint8Array, { preprocessing, options }: GraphNetwork): Promise<Float32Array> {
  const [h, w] = options.graph.inputs[0]!.shape as [number, number];
  const device = new ReferenceDevice();
  const run = compile(({ x }) => ({ y: preprocess(x!, preprocessing) }), { device });
  return (await run({ x: host(bytes, [1, h, w, 3]) })).y!.data as Float32Array;
}

/** A detector that gives just the reference's detections at or above a score, each within the bounds. */
export async function heldToPhoto(
  detector: Detector,
  name: string,
  kind: 'retinaface' | 'mtcnn',
  from: number,
  bounds: Bounds,
): Promise<void> {
  const found = (await detector.detect(photo(name))).filter((d) => d.score >= from);
  const wanted = photos.get(name)![kind]!.detections.filter((d) => d.score >= from);
  const left = new Set<Detection>(found);
  for (const want of wanted) {
    const [nearest] = [...left].sort((a, b) => far(a.box, want.box) - far(b.box, want.box));
    const what = `${name}: the face at ${want.box.join(', ')} of ${want.score}`;
    expect(nearest, `${what} is found`).toBeDefined();
    left.delete(nearest!);
    const points = want.points.flat();
    const most = bounds.pixels + (bounds.eyes ?? 0) * Math.hypot(points[2]! - points[0]!, points[3]! - points[1]!);
    expect(Math.abs(nearest!.score - want.score), `${what}: score`).toBeLessThanOrEqual(bounds.score);
    expect(far(nearest!.box, want.box), `${what}: box`).toBeLessThanOrEqual(most);
    expect(far(nearest!.points!, points), `${what}: points`).toBeLessThanOrEqual(most);
  }
  expect(
    [...left].map((d) => d.score),
    `${name}: nothing else is found`,
  ).toEqual([]);
}
