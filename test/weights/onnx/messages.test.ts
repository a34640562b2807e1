/** ONNX's messages: what is written reads back; what is not a message is refused quickly. */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { expect, test } from 'vitest';
import {
  attributeTypes,
  dataTypes,
  decodeMessage,
  encodeMessage,
  type ModelProto,
} from '../../../src/weights/onnx/messages.ts';

const model: ModelProto = {
  irVersion: 8,
  producerName: 'Grüße',
  opsetImport: [{ domain: '', version: 17 }],
  graph: {
    name: 'g',
    node: [
      {
        input: ['x', '', 'w'],
        output: ['y'],
        opType: 'Conv',
        attribute: [
          { name: 'pads', ints: [1, -1, 2 ** 40, 0], type: attributeTypes.ints },
          { name: 'alpha', f: 0.5, type: attributeTypes.float },
          { name: 'floats', floats: Float32Array.of(1, -2.5), type: attributeTypes.floats },
          { name: 's', s: Uint8Array.of(1, 255), type: attributeTypes.string },
          { name: 'strings', strings: [Uint8Array.of(7), Uint8Array.of()], type: attributeTypes.strings },
        ],
      },
    ],
    initializer: [
      { name: 'w', dims: [2, 1], dataType: dataTypes.float, rawData: new Uint8Array(Float32Array.of(3, 4).buffer) },
      { name: 'd', dims: [2], dataType: dataTypes.double, doubleData: [0.1, -1e300] },
      { name: 'i', dims: [3], dataType: dataTypes.int64, int64Data: [0, -(2 ** 40), 5] },
      { name: 'u', dims: [1], dataType: dataTypes.uint64, uint64Data: [2 ** 52] },
      { name: 'e', dataType: dataTypes.float, externalData: [{ key: 'location', value: 'w.bin' }], dataLocation: 1 },
    ],
    input: [
      {
        name: 'x',
        type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'n' }, { dimValue: 3 }, {}] } } },
      },
    ],
    output: [{ name: 'y' }],
  },
};

test('what is written reads back', () => {
  expect(decodeMessage('ModelProto', encodeMessage('ModelProto', model))).toEqual(model);
});

test('unpacked lists, lists in parts and unknown fields are read', () => {
  const w = new BinaryWriter();
  w.tag(1, WireType.Varint).int64(2).tag(1, WireType.Varint).int64(-3);
  w.tag(1, WireType.LengthDelimited).fork().int64(4).int64(5).join();
  w.tag(4, WireType.Bit32).float(0.5);
  w.tag(4, WireType.LengthDelimited).fork().float(1.5).float(2.5).join();
  w.tag(4, WireType.LengthDelimited).fork().float(3.5).join();
  w.tag(99, WireType.LengthDelimited).string('later').tag(98, WireType.Varint).uint32(7);
  expect(decodeMessage('TensorProto', w.finish())).toEqual({ dims: [2, -3, 4, 5], floatData: [0.5, 1.5, 2.5, 3.5] });
});

test('graphs in graphs without end, and fields of another kind, are refused', () => {
  let graph = encodeMessage('GraphProto', {});
  for (let i = 0; i < 100; i++) {
    const w = new BinaryWriter();
    const open = (field: number) => w.tag(field, WireType.LengthDelimited).fork();
    open(1);
    open(5);
    w.tag(6, WireType.LengthDelimited).bytes(graph).join().join();
    graph = w.finish();
  }
  expect(() => decodeMessage('GraphProto', graph)).toThrow('deeper');
  expect(() => decodeMessage('ModelProto', new BinaryWriter().tag(7, WireType.Varint).uint32(1).finish())).toThrow(
    'ModelProto.graph has wire type 0',
  );
  expect(() => decodeMessage('ModelProto', encodeMessage('ModelProto', model).slice(0, -3))).toThrow();
});
