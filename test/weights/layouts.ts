/** Small states under published names, as test/reference/layouts.py draws them, and real ones where ../shared has them. */
import { readFileSync } from 'node:fs';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { networkFromState } from '../../src/weights/layouts/index.ts';
import type { HostTensor } from '../../src/weights/safetensors.ts';
import { torchFormat } from '../../src/weights/torch.ts';
import { publishedSource } from '../helpers/published.ts';

export interface LayoutCase {
  readonly layout: string;
  readonly expected: Readonly<Record<string, unknown>> & { readonly architecture: string };
  readonly size: readonly [number, number];
  /** How far PyTorch's own float32 strays. */
  readonly drift: number;
  readonly f64: readonly number[];
  /** Name, kind, shape. */
  readonly tensors: readonly (readonly [string, string, ...number[]])[];
}
const reference: { readonly seed: number; readonly cases: readonly LayoutCase[] } = JSON.parse(
  readFileSync(new URL('../reference/layouts.json', import.meta.url), 'utf8'),
);
export const layoutCases = reference.cases;

const centres: Readonly<Record<string, number>> = { scale: 1, slope: 0.25 };
function value(kind: string, shape: readonly number[]): (n: number) => number {
  const [a = 1, b = 1, kh = 1, kw = 1] = shape;
  if (kind === 'conv' || kind === 'unused') return (n) => n * Math.sqrt(2 / (kh * kw * a));
  if (kind === 'dense') return (n) => n * Math.sqrt(2 / (a + b));
  if (kind === 'variance') return (n) => 1 + 0.2 * n * n;
  return (n) => 0.2 * n + (centres[kind] ?? 0);
}

/** The state dict of a case, with the counters that PyTorch keeps in it. */
export function drawnState({ tensors }: LayoutCase): Map<string, HostTensor> {
  const out = new Map<string, HostTensor>();
  for (const [name, kind, ...shape] of tensors) {
    const draw = normal(fold(keyOf(reference.seed), name), sizeOf(shape));
    const of = value(kind, shape);
    out.set(name, { dtype: 'f32', shape, data: Float32Array.from(draw, (n) => of(n)) });
    if (kind === 'variance')
      out.set(name.replace('running_var', 'num_batches_tracked'), { dtype: 'i32', shape: [], data: Int32Array.of(7) });
  }
  return out;
}

/** The two images of a case, normalised. */
export const drawnImages = ({ size: [h, w] }: LayoutCase): { data: Float32Array; shape: number[] } => ({
  data: normal(fold(keyOf(reference.seed), 'images'), 2 * h * w * 3),
  shape: [2, h, w, 3],
});

/** Folder, file, layout and parameters of published states that have golden embeddings. */
export const publishedStates = [
  ['xiaoccer', '068.ckpt', 'face-pytorch-mobilefacenet', 999_552],
  ['foamliu', 'mobilefacenet.pt', 'foamliu-mobilefacenet', 999_936],
] as const;

export async function publishedNetwork(folder: string, file: string) {
  const read = await torchFormat.read(publishedSource(folder, file), {});
  if (read.kind !== 'state') throw new Error('expected a state');
  return { ...networkFromState(read, {}, file), notes: read.notes };
}
