/** Files that TensorFlow's converter wrote give what TensorFlow gives in float64, rounded once; those in integers what LiteRT gives. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TfliteFile } from '../../../src/weights/tflite/model.ts';
import { converters } from '../../../src/weights/tflite/operators.ts';
import { Program } from '../../../src/weights/tflite/program.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { type BuiltinName, tensorTypes } from '../../../src/weights/tflite/schema.ts';
import { tfliteFormat } from '../../../src/weights/tflite.ts';
import { runLiteRt } from '../../helpers/litert.ts';
import { base64, heldToReference, type ReferenceCase, sourceOf } from '../../helpers/published.ts';
import { runGraph } from './agree.ts';

interface FileCase extends ReferenceCase {
  readonly file: string;
  readonly operators: readonly string[];
}
const { cases, integers } = JSON.parse(
  readFileSync(new URL('../../reference/tflite.json', import.meta.url), 'utf8'),
) as { cases: FileCase[]; integers: { file: string; input: string } };
const read = (file: string) => tfliteFormat.read(sourceOf({ 'm.tflite': base64(file) }, 'm.tflite'), {});

describe('as TensorFlow computes them', () => {
  test.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    await heldToReference(await read(c.file), c);
  });
});

/** Operators that TensorFlow's converter makes of no function, in files made by hand. */
const byHand: [BuiltinName, Record<string, unknown>, number[], (readonly number[])?][] = [
  ['SQUEEZE', { squeezeDims: [1, -2] }, [1, 4]],
  ['EXPAND_DIMS', {}, [1, 1, 1, 1, 4], [-2]],
  ['RELU_0_TO_1', {}, [1, 1, 1, 4]],
  ['CAST', { from: tensorTypes.f32, to: tensorTypes.f32 }, [1, 1, 1, 4]],
];
test.each(byHand)('%s %o', async (op, options, shape, list) => {
  const program = new Program();
  const x = program.tensor({ name: 'x', shape: [1, 1, 1, 4], type: 'f32' });
  const y = program.tensor({ name: 'y', shape, type: 'f32' });
  program.inputs.push({ name: 'x', tensor: x });
  program.outputs.push({ name: 'y', tensor: y });
  const more = list ? [program.tensor({ name: 'list', shape: [], type: 'i32', data: Int32Array.from(list) })] : [];
  program.add(op, [x, ...more], [y], options);
  const bytes = program.write('by hand');
  const input = { data: Float32Array.of(-1.5, 0.25, 0.75, 2), shape: [1, 1, 1, 4] };
  expect(await runGraph(readTflite(bytes, 'm.tflite').graph, [input])).toEqual(await runLiteRt(bytes, [input]));
});

test('all operators that are read are in a file', () => {
  const seen = new Set(cases.flatMap((c) => c.operators));
  // Those of files that this engine writes, which LiteRT is the judge of.
  const written = ['BROADCAST_TO', 'PRELU', 'QUANTIZE', 'RELU6'];
  const others = [...byHand.map(([op]) => op), ...written];
  expect(
    Object.keys(converters)
      .filter((op) => !seen.has(op))
      .sort(),
  ).toEqual(others.sort());
});

test('what files say of their weights is passed on', async () => {
  const notes = async (name: string) => (await read(cases.find((c) => c.name === name)!.file)).notes;
  expect(await notes('dense')).toEqual([]);
  expect(await notes('half weights')).toEqual(['weights are half precision in the file']);
  expect(await notes('weights of 8 bits')).toEqual([
    'weights are quantised to 8 bits in the file: they are read as the numbers they stand for',
  ]);
  expect((await read(integers.file)).notes[0]).toContain('activations are quantised to 8 bits in the file');
});

test('a file in integers, with its rounding, is within a step of LiteRT', async () => {
  const bytes = base64(integers.file);
  const file = new TfliteFile(bytes, 'm.tflite');
  const steps = (i: number) => {
    const { scale, zeroPoint } = file.tensors[i]!.quantization!;
    return { scale: scale[0]!, zero: zeroPoint[0]! };
  };
  const [[, input], [output, made]] = [file.inputs[0]!, file.outputs[0]!];
  const q = new Int8Array(base64(integers.input));
  const shape = [1, 6, 6, 4];
  const theirs = (await runLiteRt(bytes, [{ data: q, shape }]))[output]!.data;
  const { scale, zero } = steps(input);
  const x = { data: Float32Array.from(q, (v) => (v - zero) * scale), shape };
  const ours = (await runGraph(readTflite(bytes, 'm.tflite', { rounding: true }).graph, [x]))[output]!.data;
  const to = steps(made);
  expect(ours.length).toBe(theirs.length);
  ours.forEach((v, i) => {
    expect(Math.abs(Math.round(v / to.scale) + to.zero - theirs[i]!)).toBeLessThanOrEqual(1);
  });
});
