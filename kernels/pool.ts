/**
 * Max and average pooling in WGSL, with gradients.
 *
 * The one idea: every pass gathers. A window visits its pixels; in the gradients a pixel visits the windows that hold it,
 * and for the maximum finds the winner of each anew, so nothing is scattered and sums have a fixed order.
 */
import type { AvgPoolAttrs, PoolAttrs } from '../native/pool.ts';
import { ceilDiv, type Dispatch, elementsOf, type GpuEmitter, type GpuLowering, type Value, widest } from './lower.ts';

/** x and y are images and windows, `made` is what the pass writes. */
function pool(
  e: GpuEmitter,
  { kernel, stride, padding }: PoolAttrs,
  [x, y, made]: readonly [x: Value, y: Value, made: Value],
  inputs: Readonly<Record<string, Value>>,
  rest: Pick<Dispatch, 'files' | 'consts' | 'code'>,
): void {
  const channels = x.shape[3]!;
  const operand = (v: Value) => widest(v, channels);
  const { width } = operand(made);
  const count = elementsOf(made) / width;
  e.dispatch({
    ...rest,
    files: ['pool', ...rest.files],
    groups: ceilDiv(count, 64),
    params: {
      count,
      channels: channels / width,
      rows: x.shape[1]!,
      columns: x.shape[2]!,
      windowRows: y.shape[1]!,
      windowColumns: y.shape[2]!,
      madeRows: made.shape[1]!,
      madeColumns: made.shape[2]!,
      kernelRows: kernel[0],
      kernelColumns: kernel[1],
      strideRows: stride[0],
      strideColumns: stride[1],
      top: padding[0],
      left: padding[2],
    },
    inputs: Object.fromEntries(Object.entries(inputs).map(([name, v]) => [name, operand(v)])),
    outputs: { made: operand(made) },
    code: `alias Bits = ${width === 4 ? 'vec4<u32>' : 'u32'};\n${rest.code ?? ''}`,
  });
}

/** Largest value of each window. Input x [N, H, W, C]; output y [N, OH, OW, C]. */
export const maxPoolWgsl: GpuLowering<PoolAttrs> = (e, [x], [y], attrs) =>
  pool(
    e,
    attrs,
    [x!, y!, y!],
    { x: x! },
    {
      files: ['poolMax'],
      code: `fn result(image: u32, row: u32, column: u32, c: u32) -> TypeX { return winnerOf(image, row, column, c).value; }`,
    },
  );

/** dy goes to the winner of each window. Inputs x [N, H, W, C], dy [N, OH, OW, C]; output dx like x. */
export const maxPoolGradWgsl: GpuLowering<PoolAttrs> = (e, [x, dy], [dx], attrs) =>
  pool(e, attrs, [x!, dy!, dx!], { x: x!, dy: dy! }, { files: ['poolMax', 'poolMaxGrad'] });

/** Mean of each window. Input x [N, H, W, C]; output y [N, OH, OW, C]. */
export const avgPoolWgsl: GpuLowering<AvgPoolAttrs> = (e, [x], [y], attrs) =>
  pool(
    e,
    attrs,
    [x!, y!, y!],
    { x: x! },
    { files: ['poolAvg'], consts: { GRADIENT: false, WHOLE: attrs.countIncludePad } },
  );

/** dy is shared by the pixels of each window. Input dy [N, OH, OW, C]; output dx [N, H, W, C]. */
export const avgPoolGradWgsl: GpuLowering<AvgPoolAttrs> = (e, [dy], [dx], attrs) =>
  pool(
    e,
    attrs,
    [dx!, dy!, dx!],
    { x: dy! },
    { files: ['poolAvg'], consts: { GRADIENT: true, WHOLE: attrs.countIncludePad } },
  );
