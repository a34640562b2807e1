/**
 * Writes a list of convolutions as an ONNX model: the few protobuf messages of onnx.proto3 that a chain of Conv, PRelu
 * and Add needs (IR version 8, operator set 13).
 */
import type { Layer } from './net.ts';

type Bytes = readonly Uint8Array[];

const varint = (value: number): Uint8Array => {
  const out: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Uint8Array.from([...out, value]);
};
const int = (field: number, value: number): Bytes => [varint(field << 3), varint(value)];
const bytes = (field: number, value: Bytes): Bytes => [
  varint((field << 3) | 2),
  varint(value.reduce((n, b) => n + b.length, 0)),
  ...value,
];
const text = (field: number, value: string): Bytes => bytes(field, [new TextEncoder().encode(value)]);

const tensor = (name: string, dims: readonly number[], data: Float32Array): Bytes =>
  bytes(5, [
    ...dims.flatMap((d) => int(1, d)),
    ...int(2, 1),
    ...text(8, name),
    ...bytes(9, [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)]),
  ]);

const ints = (name: string, values: readonly number[]): Bytes =>
  bytes(5, [...text(1, name), ...values.flatMap((v) => int(8, v)), ...int(20, 7)]);
const one = (name: string, value: number): Bytes => bytes(5, [...text(1, name), ...int(3, value), ...int(20, 2)]);

const node = (op: string, inputs: readonly string[], output: string, ...attributes: Bytes[]): Bytes =>
  bytes(1, [
    ...inputs.flatMap((i) => text(1, i)),
    ...text(2, output),
    ...text(3, output),
    ...text(4, op),
    ...attributes.flat(),
  ]);

/** A graph input (field 11) or output (12) of floats; a string names a free dimension. */
const value = (field: number, name: string, dims: readonly (number | string)[]): Bytes => {
  const shape = dims.flatMap((d) => bytes(1, typeof d === 'number' ? int(1, d) : text(2, d)));
  return bytes(field, [...text(1, name), ...bytes(2, bytes(1, [...int(1, 1), ...bytes(2, shape)]))]);
};

/** Our [k, k, cin, cout] as ONNX's [cout, cin, k, k]. */
export function outputFirst(l: Layer): { dims: number[]; data: Float32Array } {
  const cin = l.depthwise ? 1 : l.cin;
  const taps = l.k * l.k;
  const data = new Float32Array(l.weight.length);
  for (let t = 0; t < taps; t++)
    for (let c = 0; c < cin; c++)
      for (let o = 0; o < l.cout; o++) data[(o * cin + c) * taps + t] = l.weight[(t * cin + c) * l.cout + o]!;
  return { dims: [l.cout, cin, l.k, l.k], data };
}

/** A model `x` [n, 3, 112, 112] to `y` [n, 128, 1, 1]. */
export function onnxModel(layers: readonly Layer[]): Uint8Array {
  const graph: Uint8Array[] = [];
  let at = 'x';
  let kept = at;
  for (const l of layers) {
    if (l.opens) kept = at;
    const { dims, data } = outputFirst(l);
    graph.push(...tensor(`${l.name}.weight`, dims, data), ...tensor(`${l.name}.bias`, [l.cout], l.bias));
    const conv = `${l.name}.conv`;
    graph.push(
      ...node(
        'Conv',
        [at, `${l.name}.weight`, `${l.name}.bias`],
        conv,
        one('group', l.depthwise ? l.cin : 1),
        ints('kernel_shape', [l.k, l.k]),
        ints('pads', [l.pad, l.pad, l.pad, l.pad]),
        ints('strides', [l.stride, l.stride]),
      ),
    );
    at = conv;
    if (l.slope) {
      graph.push(...tensor(`${l.name}.slope`, [l.cout, 1, 1], l.slope));
      graph.push(...node('PRelu', [at, `${l.name}.slope`], `${l.name}.prelu`));
      at = `${l.name}.prelu`;
    }
    if (l.add) {
      graph.push(...node('Add', [at, kept], `${l.name}.add`));
      at = `${l.name}.add`;
    }
  }
  graph.push(...node('Identity', [at], 'y'));
  graph.push(...text(2, 'mobileFaceNet'), ...value(11, 'x', ['n', 3, 112, 112]), ...value(12, 'y', ['n', 128, 1, 1]));
  const model = [
    ...int(1, 8),
    ...text(2, 'facegrad bench'),
    ...bytes(7, graph),
    ...bytes(8, [...text(1, ''), ...int(2, 13)]),
  ];
  return new Uint8Array(Buffer.concat(model));
}
