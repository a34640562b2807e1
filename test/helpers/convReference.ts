/** Convolution and its gradients as plain loops, in f64 or with every step rounded to f32, and the bound they give. */
import { expect } from 'vitest';
import type { ConvAttrs } from '../../native/conv2d.ts';
import { keyOf, uniform } from '../../src/core/random.ts';

export type Round = (x: number) => number;
export const exact: Round = (x) => x;

export interface ConvCase {
  /** [N, H, W, Cin] */
  readonly x: readonly [number, number, number, number];
  /** [kh, kw, Cin/groups, Cout] */
  readonly w: readonly [number, number, number, number];
  readonly attrs: ConvAttrs;
}

export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

export function outShape({ x, w, attrs }: ConvCase): [number, number, number, number] {
  const [top, bottom, left, right] = attrs.padding;
  const size = (i: number, k: number, d: number, s: number) => Math.floor((i - (k - 1) * d - 1) / s) + 1;
  return [
    x[0],
    size(x[1] + top + bottom, w[0], attrs.dilation[0], attrs.stride[0]),
    size(x[2] + left + right, w[1], attrs.dilation[1], attrs.stride[1]),
    w[3],
  ];
}

/** Visits every product of the convolution: indices into x, w and y. */
function eachProduct(c: ConvCase, visit: (xi: number, wi: number, yi: number) => void): void {
  const [n, h, wd, cin] = c.x;
  const [kh, kw, cg, cout] = c.w;
  const [, oh, ow] = outShape(c);
  const [sh, sw] = c.attrs.stride;
  const [dh, dw] = c.attrs.dilation;
  const [top, , left] = c.attrs.padding;
  const og = cout / c.attrs.groups;
  for (let b = 0; b < n; b++)
    for (let i = 0; i < oh; i++)
      for (let j = 0; j < ow; j++)
        for (let r = 0; r < kh; r++)
          for (let s = 0; s < kw; s++) {
            const [y, x] = [i * sh + r * dh - top, j * sw + s * dw - left];
            if (y < 0 || y >= h || x < 0 || x >= wd) continue;
            for (let ci = 0; ci < cg; ci++)
              for (let o = 0; o < cout; o++) {
                const g = Math.floor(o / og);
                visit(
                  ((b * h + y) * wd + x) * cin + g * cg + ci,
                  ((r * kw + s) * cg + ci) * cout + o,
                  ((b * oh + i) * ow + j) * cout + o,
                );
              }
          }
}

export type Floats = Float32Array | Float64Array;

export function convForward(c: ConvCase, x: Floats, w: Floats, r: Round = exact): Float64Array {
  const y = new Float64Array(sizeOf(outShape(c)));
  eachProduct(c, (xi, wi, yi) => {
    y[yi] = r((y[yi] as number) + r((x[xi] as number) * (w[wi] as number)));
  });
  return y;
}
export function convInputGrad(c: ConvCase, dy: Floats, w: Floats, r: Round = exact): Float64Array {
  const dx = new Float64Array(sizeOf(c.x));
  eachProduct(c, (xi, wi, yi) => {
    dx[xi] = r((dx[xi] as number) + r((dy[yi] as number) * (w[wi] as number)));
  });
  return dx;
}
export function convWeightGrad(c: ConvCase, x: Floats, dy: Floats, r: Round = exact): Float64Array {
  const dw = new Float64Array(sizeOf(c.w));
  eachProduct(c, (xi, wi, yi) => {
    dw[wi] = r((dw[wi] as number) + r((x[xi] as number) * (dy[yi] as number)));
  });
  return dw;
}

const centred = (n: number, seed: number) => uniform(keyOf(seed), n).map((u) => 2 * u - 1);

/** Random x, w, dy of a case, in [-1, 1). */
export function convData(c: ConvCase, seed: number) {
  return {
    x: centred(sizeOf(c.x), seed),
    w: centred(sizeOf(c.w), seed + 1),
    dy: centred(sizeOf(outShape(c)), seed + 2),
  };
}

/** |got − want| <= 4 · (worst error of the f32 loop) + one ulp of the largest value. */
export function expectWithin(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  loop: ArrayLike<number>,
  label: string,
): void {
  let bound = 0;
  let scale = 0;
  let worst = 0;
  let at = -1;
  for (let i = 0; i < want.length; i++) {
    const y = want[i] as number;
    bound = Math.max(bound, Math.abs((loop[i] as number) - y));
    scale = Math.max(scale, Math.abs(y));
    const error = Math.abs((got[i] as number) - y);
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
  }
  expect(got.length, `${label}: length`).toBe(want.length);
  expect(worst, `${label}: element ${at} is ${got[at]}, want ${want[at]}`).toBeLessThanOrEqual(
    4 * bound + scale * 2 ** -23,
  );
}

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let s = 0;
  for (let i = 0; i < a.length; i++) s += (a[i] as number) * (b[i] as number);
  return s;
};
