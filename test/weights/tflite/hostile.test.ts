/** Damaged and hostile TFLite files: a clear error that names the file, nothing unbounded. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test } from 'vitest';
import { DataError } from '../../../src/core/errors.ts';
import { host } from '../../../src/core/tensor.ts';
import { GraphBuilder } from '../../../src/models/graph/builder.ts';
import { writeFlat } from '../../../src/weights/tflite/flat.ts';
import { convert } from '../../../src/weights/tflite/operators.ts';
import { readTflite } from '../../../src/weights/tflite/read.ts';
import { fileIdentifier, modelTable, tensorTypes } from '../../../src/weights/tflite/schema.ts';
import { writeTflite, writeTfliteInt8 } from '../../../src/weights/tflite/write.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { noise } from './agree.ts';

const weights = (shape: number[]) => host(noise(shape).data, shape);
function smallGraph() {
  const b = new GraphBuilder();
  const x = b.input('x', [6, 6, 3]);
  const y = b.prelu(b.conv2d(x, { weight: weights([3, 3, 3, 4]), stride: 2, padding: 1 }), weights([4]));
  const [left, right] = b.applyMany('split', [b.conv2d(y, { weight: weights([3, 3, 1, 4]), groups: 4, padding: 1 })], {
    axis: 3,
    sizes: [1, 3],
  });
  const joined = b.apply('concat', [b.apply('relu', [left!]), right!], { axis: 3 });
  const pooled = b.apply('maxPool', [b.apply('resize', [joined], { size: [6, 6], mode: 'nearest' })], {
    kernel: [2, 2],
    stride: [2, 2],
  });
  const part = b.apply('slice', [b.apply('transpose', [pooled], { axes: [0, 2, 1, 3] })], {
    axis: 1,
    start: 1,
    end: 3,
  });
  const mean = b.apply('reduce', [part], { axes: [1, 2] });
  return b.finish({ y: b.linear(mean, { weight: weights([4, 5]) }) });
}
const ranges = (graph: ReturnType<typeof smallGraph>) =>
  new Map(
    [...graph.spec.inputs.map((i) => i.name), ...graph.spec.nodes.flatMap((n) => n.outputs)].map((v) => [
      v,
      { min: -2, max: 3 },
    ]),
  );
const float = writeTflite(smallGraph());
const int8 = writeTfliteInt8(smallGraph(), ranges(smallGraph())).bytes;
const read = (bytes: Uint8Array) => readTflite(bytes, 'm.tflite');

test.each([
  ['float32', float],
  ['int8', int8],
])('damaged copies of a file of %s', async (_, file) => {
  const { read: good, refused } = await fuzz(read, file, 'm.tflite', { cuts: 100, flips: 150, numbers: 150 });
  expect(refused).toBeGreaterThan(good / 2);
});

test('damaged copies of a published file', async () => {
  const path = createRequire(import.meta.url).resolve('@mediapipe/face_detection/face_detection_short_range.tflite');
  // Its structure is at the end, behind the weights.
  const bytes = new Uint8Array(readFileSync(path));
  await fuzz(read, bytes, 'm.tflite', { cuts: 10, flips: 20, numbers: 20 });
});

test.each([
  ['nothing', new Uint8Array(0)],
  ['zeros', new Uint8Array(64)],
  ['another flatbuffer', writeFlat({ version: 3 }, modelTable, 'ABCD')],
])('%s is no TFLite file', (_, bytes) => {
  expect(() => read(bytes)).toThrow(DataError);
  expect(() => read(bytes)).toThrow(/^m\.tflite: expected a TFLite file \(a flatbuffer\), but bytes 4 to 7 are/);
});

test('a small file that unfolds to a large one is refused before it does', () => {
  // A list of n references to one subgraph, whose list of tensors is n references to one tensor.
  const n = 30_000;
  const file = new DataView(new ArrayBuffer(8 * n + 400));
  new Uint8Array(file.buffer).set(new TextEncoder().encode(fileIdentifier), 4);
  const vtable = 8;
  file.setUint16(vtable, 10, true);
  // Slots 0 and 2 of every table are its number at 4.
  for (const slot of [0, 2]) file.setUint16(vtable + 4 + 2 * slot, 4, true);
  const refer = (at: number, to: number) => file.setUint32(at, to - at, true);
  const table = (at: number, list?: number) => {
    file.setInt32(at, at - vtable, true);
    if (list) refer(at + 4, list);
  };
  const list = (at: number, to: number) => {
    file.setUint32(at, n, true);
    for (let i = 0; i < n; i++) refer(at + 4 + 4 * i, to);
  };
  const [subgraphs, subgraph] = [40, 48 + 4 * n];
  const [tensors, tensor] = [subgraph + 8, subgraph + 16 + 4 * n];
  refer(0, 24);
  // The model's own slot 0 is a number: its subgraphs are at slot 2.
  table(24, subgraphs);
  list(subgraphs, subgraph);
  table(subgraph, tensors);
  list(tensors, tensor);
  table(tensor, tensor + 8);
  const start = performance.now();
  expect(() => read(new Uint8Array(file.buffer))).toThrow(
    'its parts refer to each other more often than its size allows',
  );
  expect(performance.now() - start).toBeLessThan(2000);
});

test('constants whose bytes do not fit their shapes, and references out of the file, are named', () => {
  const one = (tensor: object, extra: object = {}) =>
    writeFlat(
      {
        version: 3,
        operatorCodes: [{ code: 0, version: 1 }],
        subgraphs: [
          {
            tensors: [
              { shape: [1, 4], type: 0, name: 'x' },
              { shape: [4], type: 0, buffer: 1, name: 'w', ...tensor },
              { shape: [1, 4], type: 0, name: 'y' },
            ],
            inputs: [0],
            outputs: [2],
            operators: [{ opcode: 0, inputs: [0, 1], outputs: [2], ...extra }],
          },
        ],
        buffers: [{}, { data: new Uint8Array(16) }],
      },
      modelTable,
      fileIdentifier,
    );
  expect(read(one({})).graph.spec.nodes.map((n) => n.op)).toEqual(['constant', 'add']);
  const refusals: [object, object, string][] = [
    [{ shape: [1 << 30, 1 << 30] }, {}, 'tensor 1 (w) of shape [1073741824,1073741824] should have'],
    [{ shape: [-1, -4] }, {}, 'should have'],
    [{ shape: [5] }, {}, 'should have 20 bytes, but has 16'],
    [{ type: 5 }, {}, 'has elements of type STRING'],
    [{ sparsity: {} }, {}, 'is stored sparsely'],
    [{ buffer: 7 }, {}, 'tensor 1 (w) is read before it is made'],
    [{ quantization: { scale: [1, 2, 3], zeroPoint: [0, 0, 0], dimension: 0 } }, {}, 'has 3 scales along axis 0'],
    [{ shape: [3], type: 2 }, {}, 'should have 12 bytes'],
    [{}, { inputs: [0, 9] }, 'expected tensors 0 to 2, got a reference to 9'],
    [{}, { opcode: 3 }, 'an operator refers to code 3 of 1'],
    [{}, { inputs: [0] }, 'operand 1 is missing'],
    [{}, { inputs: [0, -1] }, 'operand 1 is missing'],
  ];
  for (const [tensor, extra, message] of refusals) {
    expect(() => read(one(tensor, extra))).toThrow(DataError);
    expect(() => read(one(tensor, extra))).toThrow(message);
  }
});

test('every operator that is not read is named, with how many there are', () => {
  const code = (n: number, customCode?: string) => ({
    code: n,
    deprecatedCode: Math.min(n, 127),
    version: 1,
    customCode,
  });
  const file = writeFlat(
    {
      version: 3,
      operatorCodes: [code(67), code(32, 'Convolve'), code(200)],
      subgraphs: [
        {
          tensors: [{ shape: [1, 4], type: 0, name: 'x' }],
          inputs: [0],
          outputs: [0],
          operators: [0, 1, 2, 0].map((opcode) => ({ opcode, inputs: [0], outputs: [0] })),
        },
      ],
      buffers: [{}],
    },
    modelTable,
    fileIdentifier,
  );
  expect(() => read(file)).toThrow(
    'm.tflite: expected operators that are read, got\n  TRANSPOSE_CONV (2)\n  CUSTOM (Convolve) (1)\n  operator 200 (1)\n',
  );
});

test('arithmetic on constants is done as the file means it, or refused', () => {
  const fail = (what: string): never => {
    throw new DataError(what);
  };
  const numbers = host(Float32Array.of(2.7, -2.7), [2]);
  const at = (...values: number[]) => host(Int32Array.from(values), [values.length]);
  const context = { builder: new GraphBuilder(), path: 'c', count: 1, fail };
  const [cut] = convert('CAST', { ...context, inputs: [numbers], options: { to: tensorTypes.i32 } });
  expect(cut).toEqual(at(2, -2));
  const sliced = (step: number) =>
    convert('STRIDED_SLICE', { ...context, inputs: [at(5, 6, 7), at(0), at(3), at(step)], options: {} });
  expect(sliced(2)).toEqual([at(5, 7)]);
  expect(() => sliced(-1)).toThrow('it takes a constant in steps of -1');
});

test('an input of open size names the option that gives it', () => {
  const tensors = [{ shape: [1, 1, 1, 3], shapeSignature: [1, -1, -1, 3], type: 0, name: 'x' }];
  const bytes = writeFlat(
    { version: 3, subgraphs: [{ tensors, inputs: [0], outputs: [0] }], buffers: [{}] },
    modelTable,
    fileIdentifier,
  );
  expect(() => read(bytes)).toThrow(/shape \[1,-1,-1,3\] is open\n.*--input 112x112/);
});
