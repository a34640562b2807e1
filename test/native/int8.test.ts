/** 8-bit convolutions against plain integer loops, to the bit: every tail of every tile, all that follows the sum. */
import { describe, expect, it } from 'vitest';
import { type Int8Attrs, paddedChannels } from '../../native/int8.ts';
import { int8Depthwise } from '../../native/int8Depthwise.ts';
import { int8Product } from '../../native/int8Product.ts';
import { fold, keyOf, uniform } from '../../src/core/random.ts';
import { int8Reference } from '../../src/quant/ops.ts';
import { KernelRunner, narrowRelaxed, narrowStrict, runLowering, wideRelaxed } from '../helpers/kernelRunner.ts';

interface Case {
  readonly x: readonly [number, number, number, number];
  /** [kh, kw, Cin/groups, Cout]. */
  readonly w: readonly [number, number, number, number];
  readonly a?: Partial<Int8Attrs>;
}

const base: Int8Attrs = {
  stride: [1, 1],
  padding: [0, 0, 0, 0],
  dilation: [1, 1],
  groups: 1,
  zero: 117,
  output: { zero: 131, low: 0, high: 255 },
  slopes: 'none',
};

function run({ x, w, a }: Case, lowering: typeof int8Product, mode: typeof narrowRelaxed, extreme = false) {
  const attrs = { ...base, ...a };
  const [n, h, wd] = x;
  const [kh, kw, perGroup, out] = w;
  const [top, bottom, left, right] = attrs.padding;
  const oh = Math.floor((h + top + bottom - attrs.dilation[0] * (kh - 1) - 1) / attrs.stride[0]) + 1;
  const ow = Math.floor((wd + left + right - attrs.dilation[1] * (kw - 1) - 1) / attrs.stride[1]) + 1;
  const y = [n, oh, ow, out];
  const size = (shape: readonly number[]) => shape.reduce((p, q) => p * q, 1);
  const draw = (name: string, count: number) => uniform(fold(keyOf(3), name), count);
  const bytes = (name: string, count: number) =>
    Uint8Array.from(draw(name, count), (u) => (extreme ? 255 * Math.round(u) : Math.floor(256 * u)));
  const padded = paddedChannels(out);
  const k = kh * kw * perGroup;
  const operands = [
    { data: bytes('x', size(x)), shape: x, dtype: 'u8' as const },
    { data: bytes('w', size(w)), shape: w, dtype: 'u8' as const },
    // Results from far below 0 to far above 255 levels.
    { data: draw('scale', padded).map((u) => (0.02 * (u + 0.5)) / Math.sqrt(k)), shape: [padded] },
    {
      data: Int32Array.from(draw('bias', padded), (u) => Math.round(4e4 * (u - 0.5))),
      shape: [padded],
      dtype: 'i32' as const,
    },
    ...(attrs.slopes !== 'none'
      ? [
          {
            data: draw('slope', padded).map((u) => (attrs.slopes === 'small' ? 1.5 * u - 0.5 : 2 * u - 0.5)),
            shape: [padded],
          },
        ]
      : []),
    ...(attrs.residual ? [{ data: bytes('r', size(y)), shape: y, dtype: 'u8' as const }] : []),
  ];
  const dtype = attrs.output ? ('u8' as const) : ('f32' as const);
  const [got] = runLowering(lowering, operands, [{ shape: y, dtype }], attrs, new KernelRunner(mode, 32));
  const expected = new Float64Array(size(y));
  const specs = operands.map((o) => ({ shape: o.shape, dtype: o.dtype ?? ('f32' as const) }));
  int8Reference(
    operands.map((o) => Float64Array.from(o.data)),
    [expected],
    attrs,
    { inputs: specs, outputs: [{ shape: y, dtype }] },
    (v) => v,
  );
  return { got: got!, expected };
}

function expectSame({ got, expected }: ReturnType<typeof run>) {
  expect(got.length).toBe(expected.length);
  const wrong = expected.findIndex((v, i) => got[i] !== v);
  if (wrong >= 0) throw new Error(`element ${wrong}: expected ${expected[wrong]}, got ${got[wrong]}`);
  // A constant would be met by many a wrong kernel.
  if (expected.length > 8) expect(new Set(expected).size).toBeGreaterThan(2);
}

const name = (c: Case) => JSON.stringify(c);
const f32 = { output: undefined } as unknown as Partial<Int8Attrs>;
const residual = { zero: 90, scale: 0.37 };
const finishes: Partial<Int8Attrs>[] = [
  {},
  { slopes: 'any' },
  { residual },
  { slopes: 'small' },
  { slopes: 'any', residual },
  f32,
  { ...f32, slopes: 'any', residual },
  { output: { zero: 0, low: 0, high: 120 } },
  { output: { zero: 40, low: 40, high: 255 } },
];

const columns = [1, 2, 7, 8, 9, 15, 16, 17, 24, 33];
const products: Case[] = [
  ...columns.map((c): Case => ({ x: [1, 3, 3, 8], w: [1, 1, 8, c] })),
  // k on either side of what a step takes, and of what is widened at once.
  ...[1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 31, 32, 36, 48, 52].map(
    (c): Case => ({ x: [2, 2, 3, c], w: [1, 1, c, 9] }),
  ),
  // Pixels: tails of tiles, and more than a chunk.
  ...[1, 2, 3, 4, 5, 95, 96, 97, 98].map((p): Case => ({ x: [1, 1, p, 8], w: [1, 1, 8, 8] })),
  { x: [1, 1, 40, 700], w: [1, 1, 700, 12] },
  { x: [1, 6, 7, 3], w: [3, 3, 3, 16], a: { padding: [1, 1, 1, 1] } },
  { x: [2, 9, 8, 3], w: [3, 3, 3, 20], a: { padding: [1, 1, 1, 1], stride: [2, 2] } },
  { x: [2, 6, 7, 5], w: [1, 1, 5, 8], a: { stride: [2, 2] } },
  { x: [1, 6, 7, 8], w: [1, 1, 8, 8], a: { padding: [0, 1, 0, 2] } },
  { x: [1, 9, 11, 6], w: [3, 5, 6, 7], a: { padding: [2, 1, 0, 3], dilation: [2, 1] } },
  { x: [1, 9, 11, 6], w: [3, 2, 6, 7], a: { padding: [1, 1, 3, 2], dilation: [1, 3], stride: [1, 2] } },
  { x: [2, 5, 5, 12], w: [3, 3, 4, 9], a: { groups: 3, padding: [1, 1, 1, 1] } },
  { x: [1, 5, 5, 8], w: [1, 1, 2, 40], a: { groups: 4 } },
  { x: [1, 4, 4, 6], w: [3, 3, 1, 6], a: { groups: 6, padding: [1, 1, 1, 1] } },
  ...finishes.flatMap((a): Case[] => [
    { x: [2, 3, 5, 12], w: [1, 1, 12, 21], a },
    { x: [1, 5, 5, 16], w: [3, 3, 16, 32], a: { ...a, padding: [1, 1, 1, 1] } },
  ]),
];

const same = { padding: [1, 1, 1, 1] } as const;
const depthwise = (
  h: number,
  w: number,
  c: number,
  a: Partial<Int8Attrs> = {},
  k: [number, number] = [3, 3],
  n = 2,
): Case => ({
  x: [n, h, w, c],
  w: [...k, 1, c],
  a: { groups: c, ...same, ...a },
});
const depthwises: Case[] = [
  ...[2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 72].map((c) => depthwise(5, 7, c)),
  ...[1, 2, 3, 4, 5, 6, 7].map((w) => depthwise(4, w, 8)),
  ...[1, 2, 3, 9, 13].map((h) => depthwise(h, 4, 8, { stride: [2, 2] })),
  depthwise(9, 11, 8, { padding: [0, 0, 0, 0] }),
  depthwise(9, 11, 8, { padding: [2, 0, 0, 3], dilation: [2, 2] }),
  depthwise(12, 17, 9, { padding: [1, 3, 4, 0], dilation: [2, 3], stride: [2, 2] }),
  depthwise(12, 9, 8, { stride: [4, 5], padding: [0, 0, 0, 0] }),
  depthwise(7, 7, 40, { padding: [0, 0, 0, 0] }, [7, 7], 3),
  depthwise(7, 6, 9, { padding: [0, 0, 0, 0] }, [7, 6], 3),
  depthwise(8, 9, 8, { padding: [2, 2, 2, 2] }, [5, 5]),
  depthwise(3, 3, 8, { padding: [4, 4, 4, 4] }),
  ...finishes.flatMap((a) => [depthwise(5, 8, 21, a), depthwise(6, 5, 32, { ...a, stride: [2, 2] })]),
];

for (const mode of [narrowRelaxed, narrowStrict, wideRelaxed]) {
  describe(`8-bit convolutions, ${mode.wide ? 'wide' : 'narrow'} ${mode.relaxed ? 'relaxed' : 'strict'}`, () => {
    it.each(products.map((c) => [name(c), c] as const))('product %s', (_, c) => {
      expectSame(run(c, int8Product, mode));
    });
    it.each(depthwises.map((c) => [name(c), c] as const))('depthwise %s', (_, c) => {
      expectSame(run(c, int8Depthwise, mode));
    });
    it('of the largest numbers, at zero points at the ends', () => {
      for (const zero of [0, 255]) {
        expectSame(run({ x: [1, 3, 3, 64], w: [3, 3, 64, 16], a: { ...same, ...f32, zero } }, int8Product, mode, true));
        expectSame(run(depthwise(9, 9, 16, { ...f32, zero }, [8, 8]), int8Depthwise, mode, true));
      }
    });
  });
}

describe('the loops that specify them', () => {
  it('give what is written down', () => {
    const y = new Float64Array(2);
    const attrs: Int8Attrs = {
      ...base,
      zero: 10,
      slopes: 'any',
      residual: { zero: 3, scale: 0.5 },
      output: { zero: 7, low: 0, high: 255 },
    };
    const u8 = (...shape: number[]) => ({ shape, dtype: 'u8' as const });
    int8Reference(
      [
        [12, 9],
        [131, 126, 128, 130],
        [0.25, 2],
        [4, -8],
        [1, 0.5],
        [5, 0],
      ].map((v) => Float64Array.from(v)),
      [y],
      attrs,
      {
        inputs: [u8(1, 1, 1, 2), u8(1, 1, 2, 2), u8(2), u8(2), u8(2), u8(1, 1, 1, 2)],
        outputs: [u8(1, 1, 1, 2)],
      },
      (v) => v,
    );
    // 2·3 + (−1)·0 + 4 = 10 → 2.5 + 1 = 3.5 → 4 + 7; 2·(−2) + (−1)·2 − 8 = −14 → −28 − 1.5 = −29.5 → −14.75 → below 0.
    expect([...y]).toEqual([11, 0]);
  });
});
