/**
 * The work every engine is given: MobileFaceNet (arXiv 1804.07573, table 1) as a flat list of convolutions with batch
 * norm folded into weights and bias, and a plain double-precision forward to judge their answers by.
 *
 * Weights are random (timing does not depend on their values) but scaled so that activations keep their size: a net
 * whose activations vanish would be timed on denormal numbers.
 */
import { fold, keyOf, normal, uniform } from '../../src/core/random.ts';

/** One convolution: y = act(conv(x) + bias), plus the block's input where `add` is set. `inC` of depthwise is 1. */
export interface Layer {
  name: string;
  k: number;
  stride: number;
  pad: number;
  /** Input and output channels; `depthwise` has one input channel per group. */
  cin: number;
  cout: number;
  depthwise: boolean;
  /** [k, k, depthwise ? 1 : cin, cout] */
  weight: Float32Array;
  bias: Float32Array;
  /** PReLU slopes [cout]; undefined where the layer is linear. */
  slope?: Float32Array;
  /** This layer opens an inverted residual block: its input is kept for the layer that adds it. */
  opens: boolean;
  /** The kept input is added to this layer's output. */
  add: boolean;
  /** Height and width of the output. */
  size: number;
}

const rows = [
  [2, 64, 5, 2],
  [4, 128, 1, 2],
  [2, 128, 6, 1],
  [4, 128, 1, 2],
  [2, 128, 2, 1],
] as const;

const key = fold(keyOf(1), 'peers');

/** MobileFaceNet's 50 convolutions in order; 220,965,376 multiplications a face. */
export function mobileFaceNet(): Layer[] {
  const layers: Layer[] = [];
  let size = 112;
  let cin = 3;
  const push = (
    name: string,
    cout: number,
    k: number,
    stride: number,
    pad: number,
    depthwise: boolean,
    linear: boolean,
  ) => {
    size = Math.floor((size + 2 * pad - k) / stride) + 1;
    const fanIn = k * k * (depthwise ? 1 : cin);
    const std = Math.sqrt(1.6 / fanIn);
    const layer: Layer = {
      name,
      k,
      stride,
      pad,
      cin,
      cout,
      depthwise,
      weight: normal(fold(key, `${name}.weight`), fanIn * cout).map((v) => v * std),
      bias: normal(fold(key, `${name}.bias`), cout).map((v) => v * 0.1),
      opens: false,
      add: false,
      size,
    };
    if (!linear) layer.slope = uniform(fold(key, `${name}.slope`), cout).map((v) => v * 0.5);
    layers.push(layer);
    cin = cout;
    return layer;
  };
  push('stem', 64, 3, 2, 1, false, false);
  push('stemDepthwise', 64, 3, 1, 1, true, false);
  let block = 0;
  for (const [expansion, cout, repeats, stride] of rows)
    for (let i = 0; i < repeats; i++, block++) {
      const s = i === 0 ? stride : 1;
      const identity = s === 1 && cin === cout;
      push(`blocks.${block}.expand`, cin * expansion, 1, 1, 0, false, false).opens = identity;
      push(`blocks.${block}.depthwise`, cin, 3, s, 1, true, false);
      push(`blocks.${block}.project`, cout, 1, 1, 0, false, true).add = identity;
    }
  push('head', 512, 1, 1, 0, false, false);
  push('globalDepthwise', 512, 7, 1, 0, true, true);
  push('embedding', 128, 1, 1, 0, false, true);
  return layers;
}

/** Multiplications of one forward pass. */
export const multiplications = (layers: readonly Layer[]): number =>
  layers.reduce((sum, l) => sum + l.size ** 2 * l.cout * l.k * l.k * (l.depthwise ? 1 : l.cin), 0);

/** Faces [batch, 112, 112, 3]; the first is the same whatever the batch. */
export const faces = (batch: number): Float32Array => normal(fold(key, 'faces'), batch * 112 * 112 * 3);

/** The two matrices of the product benchmark, [n, n] each. */
export const matrices = (n: number): [Float32Array, Float32Array] => [
  normal(fold(key, 'a'), n * n),
  normal(fold(key, 'b'), n * n),
];

/** Embedding of the first face by plain loops in double precision. */
export function plainForward(layers: readonly Layer[]): Float64Array {
  let x = Float64Array.from(faces(1));
  let kept = x;
  let size = 112;
  for (const l of layers) {
    if (l.opens) kept = x;
    const y = new Float64Array(l.size * l.size * l.cout);
    const inputs = l.depthwise ? 1 : l.cin;
    for (let i = 0; i < l.size; i++)
      for (let j = 0; j < l.size; j++) {
        const at = (i * l.size + j) * l.cout;
        for (let o = 0; o < l.cout; o++) y[at + o] = l.bias[o]!;
        for (let r = 0; r < l.k; r++)
          for (let s = 0; s < l.k; s++) {
            const yy = i * l.stride + r - l.pad;
            const xx = j * l.stride + s - l.pad;
            if (yy < 0 || yy >= size || xx < 0 || xx >= size) continue;
            const from = (yy * size + xx) * l.cin;
            for (let c = 0; c < inputs; c++) {
              const w = ((r * l.k + s) * inputs + c) * l.cout;
              const v = x[from + c]!;
              if (l.depthwise) for (let o = 0; o < l.cout; o++) y[at + o]! += x[from + o]! * l.weight[w + o]!;
              else for (let o = 0; o < l.cout; o++) y[at + o]! += v * l.weight[w + o]!;
            }
          }
        for (let o = 0; o < l.cout; o++) {
          const v = y[at + o]!;
          if (l.slope && v < 0) y[at + o] = v * l.slope[o]!;
          if (l.add) y[at + o]! += kept[at + o]!;
        }
      }
    x = y;
    size = l.size;
  }
  return x;
}

/** The product of the two matrices by plain loops in double precision. */
export function plainMatmul(n: number): Float64Array {
  const [a, b] = matrices(n);
  const y = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < n; k++) {
      const v = a[i * n + k]!;
      for (let j = 0; j < n; j++) y[i * n + j]! += v * b[k * n + j]!;
    }
  return y;
}
