/**
 * 2-D convolution on WebGPU, all three passes, as matrix products whose A is gathered from the images on the way.
 *
 * The one idea: pixels times taps. Forward and input gradient have pixels for rows and sum over taps; the weight gradient
 * is the reverse. The input gradient gathers dy, one product for each stride phase of dx, so that no zeros are
 * multiplied. Groups are a batch. A 1×1 convolution needs no gathering: its images are matrices.
 */
import {
  type ConvAttrs,
  type ConvGeometry,
  convGeometry,
  forwardAxis,
  gradAxis,
  type TapAxis,
} from '../native/convGeometry.ts';
import { type Gemm, gemmWgsl, plainSide, type Side } from './gemm.ts';
import { type GpuLowering, type Param, single, type Value, wide } from './lower.ts';

type Params = Readonly<Record<string, Param>>;

/** A 1×1 convolution that reads every pixel once. */
const isPlain = ({ rows, columns }: ConvGeometry) =>
  [rows, columns].every((a) => a.kernel === 1 && a.stride === 1 && a.before === 0 && a.outSize === a.size);

/** The sizes of the products, by group. */
const sizesOf = (g: ConvGeometry) => {
  const [inputs, outputs] = [g.cin / g.groups, g.cout / g.groups];
  const [pixels, taps] = [g.batch * g.rows.outSize * g.columns.outSize, g.rows.kernel * g.columns.kernel];
  // From group to group; the batch of one that no group makes lies anywhere.
  const [inputBatch, outputBatch] = g.groups > 1 ? [inputs, outputs] : [0, 0];
  return { inputs, outputs, pixels, taps, inputBatch, outputBatch };
};

/** Windows of an image of `channels`, `perGroup` of them in a group, as side A. */
function windows(
  image: Value,
  [rows, columns]: readonly [TapAxis, TapAxis],
  channels: number,
  perGroup: number,
  pixelsAlong: 'm' | 'k',
): Side & { readonly consts: Readonly<Record<string, boolean>> } {
  const isWide = perGroup % 4 === 0;
  const params: Params = {
    inRows: rows.inSize,
    inColumns: columns.inSize,
    inChannels: channels,
    imageSize: rows.inSize * columns.inSize * channels,
    outRows: rows.outSize,
    outColumns: columns.outSize,
    strideY: rows.gather.stride,
    strideX: columns.gather.stride,
    stepY: rows.gather.step,
    stepX: columns.gather.step,
    offsetY: { i32: rows.gather.offset },
    offsetX: { i32: columns.gather.offset },
    tapsAcross: columns.gather.taps,
    groupChannels: perGroup,
  };
  return {
    operand: isWide ? wide(image) : single(image),
    alongK: pixelsAlong === 'm',
    params,
    consts: { WIDE: isWide },
    code:
      pixelsAlong === 'm'
        ? `alias RowsA = Pixels;
alias StepA = Taps;
fn rowsA(group: u32, row: u32) -> RowsA { return pixelsFrom(group, row); }
fn stepA(group: u32, k: u32) -> StepA { return tapsFrom(k); }
fn blockA(pixels: RowsA, taps: StepA) -> mat4x4<f32> { return window(pixels, taps); }`
        : `alias RowsA = Taps;
alias StepA = Pixels;
fn rowsA(group: u32, row: u32) -> RowsA { return tapsFrom(row); }
fn stepA(group: u32, k: u32) -> StepA { return pixelsFrom(group, k); }
fn blockA(taps: RowsA, pixels: StepA) -> mat4x4<f32> { return transpose(window(pixels, taps)); }`,
  };
}

export const conv2dWgsl: GpuLowering<ConvAttrs> = (e, [x, w], [y], attrs) => {
  const g = convGeometry('conv2d', x!, w!, y!, attrs);
  const { inputs, outputs, pixels, taps, inputBatch, outputBatch } = sizesOf(g);
  const rest = {
    m: pixels,
    n: outputs,
    k: taps * inputs,
    batch: g.groups,
    b: plainSide('B', w!, false, g.cout, outputBatch),
    c: y!,
    cLine: g.cout,
    cBatch: outputBatch,
  };
  if (isPlain(g)) return gemmWgsl(e, { ...rest, a: plainSide('A', x!, true, g.cin, inputBatch) });
  const a = windows(x!, [forwardAxis(g.rows), forwardAxis(g.columns)], g.cin, inputs, 'm');
  gemmWgsl(e, { ...rest, a, files: ['conv2d'], consts: a.consts });
};

/** Weights as side B of the input gradient. */
function turnedWeights(w: Value, g: ConvGeometry, rows: TapAxis, columns: TapAxis): Side {
  const { inputs, outputs } = sizesOf(g);
  const place = inputs * g.cout;
  return {
    operand: outputs % 4 === 0 ? wide(w) : single(w),
    alongK: true,
    params: {
      wFirst: { i32: (rows.firstTap * g.columns.kernel + columns.firstTap) * place },
      wStepY: { i32: rows.tapStep * g.columns.kernel * place },
      wStepX: { i32: columns.tapStep * place },
      wLine: g.cout,
    },
    code: '',
  };
}

/** Where the pixels of a stride phase lie in dx. */
const phasePlace = (g: ConvGeometry, rows: TapAxis, columns: TapAxis): NonNullable<Gemm['place']> => ({
  params: {
    firstPixel: rows.place * g.columns.size + columns.place,
    everyRow: rows.every * g.columns.size,
    everyColumn: columns.every,
    pixels: g.rows.size * g.columns.size,
    pixelSize: g.cin,
    perGroup: g.cin / g.groups,
  },
  code: `fn placeC(group: u32, i: u32) -> u32 {
  let row = i / p.outColumns;
  let image = row / p.outRows;
  let pixel = p.firstPixel + (row - image * p.outRows) * p.everyRow + (i - row * p.outColumns) * p.everyColumn;
  return (image * p.pixels + pixel) * p.pixelSize + group * p.perGroup;
}`,
});

export const conv2dInputGradWgsl: GpuLowering<ConvAttrs> = (e, [dy, w], [dx], attrs) => {
  const g = convGeometry('conv2dInputGrad', dx!, w!, dy!, attrs);
  const { inputs, outputs, pixels, inputBatch, outputBatch } = sizesOf(g);
  const rest = { n: inputs, batch: g.groups, c: dx!, cLine: g.cin, cBatch: inputBatch };
  if (isPlain(g)) {
    const a = plainSide('A', dy!, true, g.cout, outputBatch);
    return gemmWgsl(e, { ...rest, m: pixels, k: outputs, a, b: plainSide('B', w!, true, g.cout, outputBatch) });
  }
  const phased = g.rows.stride > 1 || g.columns.stride > 1;
  for (let i = 0; i < g.rows.stride; i++)
    for (let j = 0; j < g.columns.stride; j++) {
      const [rows, columns] = [gradAxis(g.rows, i), gradAxis(g.columns, j)];
      const a = windows(dy!, [rows, columns], g.cout, outputs, 'm');
      gemmWgsl(e, {
        ...rest,
        m: g.batch * rows.outSize * columns.outSize,
        k: rows.gather.taps * columns.gather.taps * outputs,
        a,
        b: turnedWeights(w!, g, rows, columns),
        files: ['conv2d', 'conv2dInputGrad'],
        consts: a.consts,
        ...(phased ? { place: phasePlace(g, rows, columns) } : {}),
      });
    }
};

export const conv2dWeightGradWgsl: GpuLowering<ConvAttrs> = (e, [x, dy], [dw], attrs) => {
  const g = convGeometry('conv2dWeightGrad', x!, dw!, dy!, attrs);
  const { inputs, outputs, pixels, taps, inputBatch, outputBatch } = sizesOf(g);
  const rest = {
    m: taps * inputs,
    n: outputs,
    k: pixels,
    batch: g.groups,
    b: plainSide('B', dy!, false, g.cout, outputBatch),
    c: dw!,
    cLine: g.cout,
    cBatch: outputBatch,
  };
  if (isPlain(g)) return gemmWgsl(e, { ...rest, a: plainSide('A', x!, false, g.cin, inputBatch) });
  const a = windows(x!, [forwardAxis(g.rows), forwardAxis(g.columns)], g.cin, inputs, 'k');
  gemmWgsl(e, { ...rest, a, files: ['conv2d'], consts: a.consts });
};
