/**
 * The ONNX standard's own node test cases (test/reference/onnxNodes.py), on two devices.
 *
 * Bounds are derived: the truth is the f64 reference; a plain float32 run strays from it by some amount, or by a rounding
 * of the largest number; the standard's results and WASM may stray four times as far.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { compile } from '../../../src/compile.ts';
import { type HostTensor, host } from '../../../src/core/tensor.ts';
import type { Device } from '../../../src/device/device.ts';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { WasmDevice } from '../../../src/device/wasm.ts';
import { permuted } from '../../../src/models/graph/channelsFirst.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import { isChannelsLast, onnxGraph } from '../../../src/weights/onnx/graph.ts';
import { onnxOperators } from '../../../src/weights/onnx/operators.ts';
import { readOnnx } from '../../../src/weights/onnx/read.ts';

type Stored = readonly [shape: readonly number[], data: string];
interface Case {
  readonly name: string;
  readonly model: string;
  readonly inputs: Readonly<Record<string, Stored>>;
  readonly outputs: Readonly<Record<string, Stored>>;
}
const file = new URL('../../reference/onnxNodes.json.gz', import.meta.url);
const { cases, leftOut } = JSON.parse(gunzipSync(readFileSync(file)).toString()) as {
  cases: Case[];
  leftOut: Readonly<Record<string, readonly string[]>>;
};

const stored = ([shape, data]: Stored): HostTensor =>
  host(new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer), [...shape]);

/** Of the standard's cases for these operators those that are not read, by name, and why. */
const refused: readonly (readonly [cases: RegExp, why: RegExp])[] = [
  [/^(average|max)pool_[13]d_/, /[13]-D windows/],
  [/^convtranspose_[13]d$/, /[13]-D convolution/],
  [/^(average|max)pool_2d_dilations$/, /dilations/],
  [/^(batchnorm_.*_training_mode|training_dropout(_default)?)$/, /training_mode/],
  [/^resize_tf_crop_and_resize/, /tf_crop_and_resize/],
  [/^resize_.*_antialias$/, /antialias/],
];
/** Expected values that the standard has as text of a few digits: its own tolerance. */
const typed = ['averagepool_2d_ceil_last_window_starts_on_pad'];
const typedTolerance = 1e-3;
/** Aligned corners by the size before it is made whole, as no runtime does it. */
const otherwise = ['resize_downsample_scales_linear_align_corners', 'resize_downsample_scales_cubic_align_corners'];

const wasm = await WasmDevice.create({ threads: 1 });
const plain = new ReferenceDevice(Math.fround);
const truth = new ReferenceDevice();
afterAll(() => wasm.dispose());

/** The outputs of a case, in the axes of the standard. */
async function outputsOf(c: Case, device: Device): Promise<Map<string, HostTensor>> {
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

const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((most, x, i) => Math.max(most, x === b[i] ? 0 : Math.abs(x - b[i]!)), 0);

test.each(cases.map((c) => [c.name, c] as const))('%s', async (name, c) => {
  const why = refused.find(([names]) => names.test(name))?.[1];
  if (why) {
    await expect(outputsOf(c, truth)).rejects.toThrow(why);
    return;
  }
  const exact = await outputsOf(c, truth);
  const single = await outputsOf(c, plain);
  const fast = await outputsOf(c, wasm);
  expect([...exact.keys()]).toEqual(Object.keys(c.outputs));
  for (const [output, s] of Object.entries(c.outputs)) {
    const [expected, t] = [stored(s), exact.get(output)!];
    expect(t.shape).toEqual(expected.shape);
    const largest = Array.from(t.data).reduce((m, x) => Math.max(m, Math.abs(x)), 0);
    const bound = 4 * Math.max(far(single.get(output)!.data, t.data), largest * 2 ** -24);
    const standard = typed.includes(name) ? typedTolerance * largest : bound;
    if (!otherwise.includes(name)) expect(far(expected.data, t.data), 'the standard').toBeLessThanOrEqual(standard);
    expect(far(fast.get(output)!.data, t.data), 'wasm').toBeLessThanOrEqual(bound);
  }
});

test('every operator that is read has cases, and what is left out has a reason', () => {
  const covered = new Set(
    cases.flatMap((c) => (readOnnx(Buffer.from(c.model, 'base64'), c.name).graph?.node ?? []).map((n) => n.opType)),
  );
  expect([...onnxOperators.keys()].filter((name) => !covered.has(name))).toEqual([]);
  expect(Object.keys(leftOut).length).toBeGreaterThan(0);
});
