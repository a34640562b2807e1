/** The ONNX standard's node test cases as test/reference/onnxNodes.py writes them, and how one is run. */
import { compile } from '../../../src/compile.ts';
import { type HostTensor, host } from '../../../src/core/tensor.ts';
import type { Device } from '../../../src/device/device.ts';
import { permuted } from '../../../src/models/graph/channelsFirst.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import { isChannelsLast, onnxGraph } from '../../../src/weights/onnx/graph.ts';
import { readOnnx } from '../../../src/weights/onnx/read.ts';
import { reference } from '../../helpers/reference.ts';

export type Stored = readonly [shape: readonly number[], data: string];
export interface Case {
  readonly name: string;
  readonly model: string;
  readonly inputs: Readonly<Record<string, Stored>>;
  readonly outputs: Readonly<Record<string, Stored>>;
}
export const { cases, leftOut } = reference('onnxNodes') as {
  cases: Case[];
  leftOut: Readonly<Record<string, readonly string[]>>;
};

export const stored = ([shape, data]: Stored): HostTensor =>
  host(new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer), [...shape]);

/** Of the standard's cases for these operators those that are not read, by name, and why. */
export const refused: readonly (readonly [cases: RegExp, why: RegExp])[] = [
  [/^(average|max)pool_[13]d_/, /[13]-D windows/],
  [/^convtranspose_[13]d$/, /[13]-D convolution/],
  [/^(average|max)pool_2d_dilations$/, /dilations/],
  [/^(batchnorm_.*_training_mode|training_dropout(_default)?)$/, /training_mode/],
  [/^resize_tf_crop_and_resize/, /tf_crop_and_resize/],
  [/^resize_.*_antialias$/, /antialias/],
];
/** Expected values that the standard has as text of a few digits: its own tolerance. */
export const typed = ['averagepool_2d_ceil_last_window_starts_on_pad'];
export const typedTolerance = 1e-3;
/** Aligned corners by the size before it is made whole, as no runtime does it. */
export const otherwise = [
  'resize_downsample_scales_linear_align_corners',
  'resize_downsample_scales_cubic_align_corners',
];

/** The outputs of a case, in the axes of the standard. */
export async function outputsOf(c: Case, device: Device): Promise<Map<string, HostTensor>> {
  const { graph } = onnxGraph(readOnnx(Buffer.from(c.model, 'base64'), c.name), c.name);
  const network = graphNetwork(graph, c.name);
  const images = Object.values(c.inputs).some(([s]) => s.length === 4 && isChannelsLast(s.slice(1)));
  const inputs = Object.entries(c.inputs).map(([name, s]) => {
    const x = stored(s);
    return [name, x.shape.length === 4 && !isChannelsLast(x.shape.slice(1)) ? permuted(x, [0, 2, 3, 1]) : x] as const;
  });
  const run = compile(
    (xs, ctx) =>
      Object.fromEntries(
        network.outputs(
          graph.spec.inputs.map((i) => xs[i.name]!),
          ctx,
        ),
      ),
    { device },
  );
  const made = await run(Object.fromEntries(inputs));
  run.dispose();
  return new Map(
    Object.entries(made).map(([name, y]) => [name, y.shape.length === 4 && !images ? permuted(y, [0, 3, 1, 2]) : y]),
  );
}

/** The largest difference. */
export const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, x, i) => Math.max(most, x === b[i] ? 0 : Math.abs(x - b[i]!)), 0);
