/**
 * ONNX's Resize and Upsample.
 *
 * The one idea: where a pixel of the result lies in the input is computed as the standard says, for every pixel of an axis;
 * if that is what this engine's resize does, it does it, else each axis is gathered at those places and weighted.
 * Source: Resize-10 to Resize-19 and Upsample-7 and 9 of the ONNX standard; Keys 1981 for the cubic weights.
 */
import { host } from '../../core/tensor.ts';
import type { Ordered } from '../../models/graph/channelsFirst.ts';
import { latestOpset as latest, type OnnxNode, type OnnxOperator } from './node.ts';

interface Axis {
  readonly axis: number;
  /** Lengths in and out, and the factor between them as the node has it. */
  readonly n: number;
  readonly m: number;
  readonly scale: number;
}

/** The axes that change. */
function axesOf(node: OnnxNode, x: Ordered, old: boolean): Axis[] {
  const rank = x.shape.length;
  const at = node.type === 'Upsample' ? (node.opset < 9 ? -1 : 1) : node.opset < 11 ? 1 : 2;
  const axes = (node.ints('axes') ?? x.shape.map((_, i) => i)).map((a) => node.axis(a, rank));
  const scales =
    at < 0 ? node.floats('scales') : node.has(at) && node.shape(at)[0] !== 0 ? node.list(at, 'scales') : undefined;
  const sizes = !scales && !old && node.has(3) ? node.list(3, 'sizes') : undefined;
  const given = scales ?? sizes ?? node.fail('scales or sizes');
  if (given.length !== axes.length) node.fail(`${axes.length} scales or sizes, got ${given.length}`);
  const policy = node.text('keep_aspect_ratio_policy', 'stretch');
  const ratios = axes.map((axis, i) => (sizes ? given[i]! / x.shape[axis]! : given[i]!));
  const common = policy === 'not_larger' ? Math.min(...ratios) : policy === 'not_smaller' ? Math.max(...ratios) : 0;
  const all = axes.map((axis, i): Axis => {
    const n = x.shape[axis]!;
    if (sizes && common > 0) return { axis, n, m: Math.floor(n * common + 0.5), scale: common };
    return { axis, n, m: sizes ? given[i]! : Math.floor(n * given[i]!), scale: ratios[i]! };
  });
  const bad = all.find(({ m, n }) => !Number.isSafeInteger(m) || m < 1 || m > Math.max(n, 1 << 14));
  if (bad) node.fail(`sizes of at least 1, got ${bad.m} for axis ${bad.axis}`);
  return all.filter(({ n, m, scale }) => n !== m || scale !== 1);
}

/** Where pixel o of the result lies in the input. */
function placeOf({ n, m, scale }: Axis, transform: string, o: number): number {
  if (transform === 'asymmetric') return o / scale;
  if (transform === 'align_corners') return m === 1 ? 0 : (o * (n - 1)) / (m - 1);
  if (transform === 'pytorch_half_pixel' && m === 1) return 0;
  if (transform === 'half_pixel_symmetric') return (n / 2) * (1 - m / (scale * n)) + (o + 0.5) / scale - 0.5;
  return (o + 0.5) / scale - 0.5;
}

const rounders: Readonly<Record<string, (v: number) => number>> = {
  floor: Math.floor,
  ceil: Math.ceil,
  round_prefer_floor: (v) => Math.ceil(v - 0.5),
  round_prefer_ceil: (v) => Math.floor(v + 0.5),
};

const indexed = (m: number): number[] => Array.from({ length: m }, (_, o) => o);

/** The weights of the pixels at floor(place) + first, + first + 1, …. */
function tapsOf(node: OnnxNode, mode: string): { first: number; weights: (t: number) => number[] } {
  if (mode !== 'cubic') return { first: 0, weights: (t) => [1 - t, t] };
  const a = node.float('cubic_coeff_a', -0.75);
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const wide = (d: number) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return { first: -1, weights: (t) => [wide(1 + t), near(t), near(1 - t), wide(2 - t)] };
}

/** One axis as a weighted sum of gathered places. */
function weighted(node: OnnxNode, x: Ordered, axis: Axis, transform: string, mode: string): Ordered {
  const { n, m } = axis;
  const { first, weights } = tapsOf(node, mode);
  const without = node.int('exclude_outside', 0) !== 0;
  const rows = indexed(m).map((o) => {
    const place = placeOf(axis, transform, o);
    const low = Math.floor(place) + first;
    const own = weights(place - Math.floor(place)).map((w, k) => (without && (low + k < 0 || low + k >= n) ? 0 : w));
    const sum = own.reduce((s, w) => s + w, 0);
    return { low, weights: without ? own.map((w) => w / sum) : own };
  });
  const { graph, path } = node;
  const shape = x.shape.map((_, i) => (i === axis.axis ? m : 1));
  const taps = indexed(rows[0]!.weights.length).map((k) => {
    const indices = rows.map(({ low }) => Math.min(n - 1, Math.max(0, low + k)));
    const factor = host(
      Float32Array.from(rows, (r) => r.weights[k]!),
      shape,
    );
    const places = graph.along('gather', x, axis.axis, { indices }, path);
    return graph.binary('mul', places, graph.given(factor, `${path}.weights`, false), path);
  });
  return taps.reduce((a, b) => graph.binary('add', a, b, path));
}

function resize(node: OnnxNode): Ordered {
  const x = node.value(0);
  const { graph, path } = node;
  const old = node.type === 'Upsample' || node.opset < 11;
  const mode = node.text('mode', 'nearest').replace('bilinear', 'linear');
  const transform = old ? 'asymmetric' : node.text('coordinate_transformation_mode', 'half_pixel');
  if (node.int('antialias', 0)) node.refuse('antialias');
  if (transform === 'tf_crop_and_resize') node.refuse(`coordinate_transformation_mode ${transform}`);
  if (!['nearest', 'linear', 'cubic'].includes(mode)) node.refuse(`mode ${mode}`);
  const axes = axesOf(node, x, old);
  const images = x.shape.length === 4 && axes.every(({ axis }) => axis > 1);
  const size = [2, 3].map((i) => axes.find(({ axis }) => axis === i)?.m ?? x.shape[i]!);
  if (mode === 'nearest') {
    const rule = old ? 'floor' : node.text('nearest_mode', 'round_prefer_floor');
    const round = rounders[rule] ?? node.refuse(`nearest_mode ${rule}`);
    const indices = axes.map((a) =>
      indexed(a.m).map((o) => Math.min(a.n - 1, Math.max(0, round(placeOf(a, transform, o))))),
    );
    const own = axes.every(({ n, m }, k) => indices[k]!.every((i, o) => i === Math.floor((o * n) / m)));
    if (own && images) return graph.image('resize', x, { size, mode: 'nearest' }, path);
    return axes.reduce((y, { axis }, k) => graph.along('gather', y, axis, { indices: indices[k]! }, path), x);
  }
  for (const alignCorners of mode === 'linear' && images ? [false, true] : []) {
    const own = axes.every((a) => {
      const cut = (v: number) => Math.min(a.n - 1, Math.max(0, v));
      const same = { ...a, scale: a.m / a.n };
      const name = alignCorners ? 'align_corners' : 'half_pixel';
      return indexed(a.m).every((o) => Math.abs(cut(placeOf(same, name, o)) - cut(placeOf(a, transform, o))) < 1e-6);
    });
    if (own) return graph.image('resize', x, { size, mode: 'bilinear', alignCorners }, path);
  }
  return axes.reduce((y, axis) => weighted(node, y, axis, transform, mode), x);
}

export const resizeOperators: readonly OnnxOperator[] = [
  { name: 'Resize', opsets: [10, latest], limits: 'no antialias, no tf_crop_and_resize', map: resize },
  { name: 'Upsample', opsets: [7, 9], limits: '', map: resize },
];
