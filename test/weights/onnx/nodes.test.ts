/**
 * The ONNX standard's own node test cases (test/reference/onnxNodes.py), on two devices.
 *
 * Bounds are derived: the truth is the f64 reference; a plain float32 run strays from it by some amount, or by a rounding
 * of the largest number; the standard's results and WASM may stray four times as far.
 */
import { afterAll, expect, test } from 'vitest';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { WasmDevice } from '../../../src/device/wasm.ts';
import { onnxOperators } from '../../../src/weights/onnx/operators.ts';
import { readOnnx } from '../../../src/weights/onnx/read.ts';
import { cases, far, leftOut, otherwise, outputsOf, refused, stored, typed, typedTolerance } from './nodeCases.ts';

const wasm = await WasmDevice.create({ threads: 1 });
const plain = new ReferenceDevice(Math.fround);
const truth = new ReferenceDevice();
afterAll(() => wasm.dispose());

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
