/** ONNX files as such: element types, numbers beside the file, batches and sizes, what is refused and how, damage. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../../src/compile.ts';
import { DataError } from '../../../src/core/errors.ts';
import { fold, keyOf, normal, threefry } from '../../../src/core/random.ts';
import { host } from '../../../src/core/tensor.ts';
import { ReferenceDevice } from '../../../src/device/reference.ts';
import { graphNetwork } from '../../../src/models/graph/network.ts';
import type { Graph } from '../../../src/models/graph/spec.ts';
import type { GraphFile } from '../../../src/weights/format.ts';
import { importModel } from '../../../src/weights/import.ts';
import {
  type AttributeProto,
  attributeTypes,
  dataTypes,
  encodeMessage,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  type TensorProto,
  type ValueInfoProto,
} from '../../../src/weights/onnx/messages.ts';
import { onnxOperators } from '../../../src/weights/onnx/operators.ts';
import { onnxFormat } from '../../../src/weights/onnx.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { sourceOf } from '../../helpers/published.ts';

const text = (s: string) => new TextEncoder().encode(s);
const drawn = (name: string, n: number) => normal(fold(keyOf(4), name), n);
const floats = (name: string, dims: readonly number[], data?: readonly number[]): TensorProto => ({
  name,
  dims,
  dataType: dataTypes.float,
  rawData: new Uint8Array(
    Float32Array.from(
      data ??
        drawn(
          name,
          dims.reduce((a, b) => a * b, 1),
        ),
    ).buffer,
  ),
});
const ints = (name: string, data: readonly number[], dims = [data.length]): TensorProto => ({
  name,
  dims,
  dataType: dataTypes.int64,
  int64Data: data,
});
const value = (
  name: string,
  dims: readonly (number | string)[],
  elemType: number = dataTypes.float,
): ValueInfoProto => ({
  name,
  type: {
    tensorType: {
      elemType,
      shape: { dim: dims.map((d) => (typeof d === 'string' ? { dimParam: d } : { dimValue: d })) },
    },
  },
});
const attribute = (name: string, v: number | string | readonly number[] | TensorProto): AttributeProto =>
  typeof v === 'number'
    ? { name, i: v, type: attributeTypes.int }
    : typeof v === 'string'
      ? { name, s: text(v), type: attributeTypes.string }
      : Array.isArray(v)
        ? { name, ints: v as readonly number[], type: attributeTypes.ints }
        : { name, t: v as TensorProto, type: attributeTypes.tensor };
const node = (
  opType: string,
  input: readonly string[],
  output: readonly string[],
  attributes: Readonly<Record<string, Parameters<typeof attribute>[1]>> = {},
  more: Partial<NodeProto> = {},
): NodeProto => ({
  opType,
  input,
  output,
  attribute: Object.entries(attributes).map(([k, v]) => attribute(k, v)),
  ...more,
});
const model = (graph: GraphProto, opset = 13, more: Partial<ModelProto> = {}): ModelProto => ({
  irVersion: 7,
  opsetImport: [{ version: opset }],
  graph,
  ...more,
});
const read = (m: ModelProto, files: Readonly<Record<string, Uint8Array>> = {}, inputSize?: readonly [number, number]) =>
  onnxFormat.read(sourceOf({ 'm.onnx': encodeMessage('ModelProto', m), ...files }, 'm.onnx'), {
    inputSize,
  }) as Promise<GraphFile>;

async function run({ spec, tensors }: Graph, x: Float32Array, shape: readonly number[]) {
  const network = graphNetwork({ spec, tensors });
  const f = compile(({ x: images }, ctx) => Object.fromEntries(network.outputs([images!], ctx)), {
    device: new ReferenceDevice(),
  });
  return f({ x: host(x, [...shape]) });
}

/** An image, a convolution and a dense layer, in the way of PyTorch's exporter. */
const small = (batch: number | string = 'n', size: readonly (number | string)[] = [6, 5]): GraphProto => ({
  name: 'small',
  input: [value('x', [batch, 3, ...size])],
  output: [value('y', [batch, 7])],
  initializer: [
    floats('conv.weight', [4, 3, 3, 3]),
    floats('bn.weight', [4]),
    floats('bn.bias', [4]),
    floats('bn.mean', [4]),
    floats('bn.var', [4], [1, 2, 0.5, 1]),
    floats('act.slope', [4, 1, 1]),
    floats('fc.weight', [7, 120]),
    floats('fc.bias', [7]),
    floats('unused', [9]),
    ints('zero', [0], []),
    ints('rest', [-1]),
  ],
  node: [
    node('Conv', ['x', 'conv.weight'], ['c'], { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }),
    node('BatchNormalization', ['c', 'bn.weight', 'bn.bias', 'bn.mean', 'bn.var'], ['b']),
    node('PRelu', ['b', 'act.slope'], ['p']),
    node('Shape', ['p'], ['s']),
    node('Gather', ['s', 'zero'], ['n'], { axis: 0 }),
    node('Constant', [], ['first'], { value: ints('', [0]) }),
    node('Unsqueeze', ['n', 'first'], ['n1']),
    node('Concat', ['n1', 'rest'], ['to'], { axis: 0 }),
    node('Reshape', ['p', 'to'], ['f']),
    node('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y'], { transB: 1 }),
  ],
});

describe('graphs', () => {
  it('have layers named by their weights, dense rows where the map lies, and nothing of the shape arithmetic', async () => {
    const { graph, notes } = await read(model(small()));
    expect(graph.spec.nodes.map((n) => [n.op, n.path])).toEqual([
      ['conv2d', 'conv'],
      ['batchNorm', 'bn'],
      ['prelu', 'prelu'],
      ['reshape', 'reshape_1'],
      ['linear', 'fc'],
    ]);
    expect([...graph.tensors.keys()]).toContain('layers.bn.runningVar');
    expect(notes[0]).toBe('1 tensor that no node reads left out');
  });

  it('take any number of images where 1 is written into their reshapes', async () => {
    const g = small(1);
    const literal = { ...g, initializer: [...g.initializer!.slice(0, -1), ints('to', [1, 120])] };
    const nodes = literal.node!.filter(
      (n) => !['Shape', 'Gather', 'Constant', 'Unsqueeze', 'Concat'].includes(n.opType!),
    );
    const { graph } = await read(model({ ...literal, node: nodes }));
    expect(graph.spec.batch).toBeUndefined();
    const x = drawn('x', 3 * 90);
    const { y } = await run(graph, x, [3, 6, 5, 3]);
    const { y: last } = await run(graph, x.slice(180), [1, 6, 5, 3]);
    expect(y!.shape).toEqual([3, 7]);
    expect([...y!.data.slice(14)]).toEqual([...last!.data]);
  });

  it('take only as many images as their file where images are mixed', async () => {
    const mixed = model({
      input: [value('x', [2, 3])],
      output: [value('y', [3, 2])],
      initializer: [ints('to', [1, -1])],
      node: [node('Transpose', ['x'], ['t'], { perm: [1, 0] }), node('Reshape', ['t', 'to'], ['y'])],
    });
    const { graph, notes } = await read(mixed);
    expect(graph.spec.batch).toBe(2);
    expect(notes.join()).toContain('takes 2 images');
    const { y } = await run(graph, Float32Array.of(0, 1, 2, 3, 4, 5), [2, 3]);
    expect([...y!.data]).toEqual([0, 3, 1, 4, 2, 5]);
    await expect(run(graph, new Float32Array(9), [3, 3])).rejects.toThrow('expected 2 images');
    // Over the places of one image alone nothing is mixed; over the first axis all images would be.
    for (const [axis, batch] of [
      [1, undefined],
      [0, 1],
    ] as const) {
      const summed = model({
        input: [value('x', ['n', 3])],
        output: [value('y', [])],
        node: [node('ReduceMean', ['x'], ['y'], { axes: [axis], keepdims: 1 })],
      });
      expect((await read(summed)).graph.spec.batch).toBe(batch);
    }
  });

  it('take the size that is given, or the first usual one that fits', async () => {
    const open = model(small('n', ['h', 'w']));
    expect((await read(open, {}, [6, 5])).graph.spec.inputs[0]!.shape).toEqual([6, 5, 3]);
    await expect(read(open, {}, [8, 8])).rejects.toThrow(/^m\.onnx: y \(Gemm\): expected 120 columns, got 256/);
    const dense = small('n', ['h', 'w']);
    const wide = {
      ...dense,
      initializer: dense.initializer!.map((t) => (t.name === 'fc.weight' ? floats(t.name, [7, 4 * 112 * 96]) : t)),
    };
    const { graph, notes } = await read(model(wide));
    expect(graph.spec.inputs[0]!.shape).toEqual([112, 96, 3]);
    expect(notes[0]).toContain('112x96 fits');
    // A size in the file is replaced by one that is given.
    const free = model({ ...small('n', [6, 5]), output: [value('p', [])] });
    expect((await read(free, {}, [8, 9])).graph.spec.inputs[0]!.shape).toEqual([8, 9, 3]);
  });

  it('of images channels-last, as of TensorFlow, take them without moving numbers', async () => {
    const { graph } = await read(
      model({
        input: [value('x', [1, 6, 5, 3])],
        output: [value('y', [])],
        initializer: [floats('w', [4, 3, 1, 1])],
        node: [
          node('Transpose', ['x'], ['t'], { perm: [0, 3, 1, 2] }),
          node('Conv', ['t', 'w'], ['c']),
          node('Transpose', ['c'], ['y'], { perm: [0, 2, 3, 1] }),
        ],
      }),
    );
    expect(graph.spec.nodes.map((n) => n.op)).toEqual(['conv2d']);
    expect(graph.spec.inputs[0]!.shape).toEqual([6, 5, 3]);
  });

  it('keep the preparation of images as constants, and train the weights', async () => {
    const { graph, preprocessing } = await read(
      model({
        input: [value('x', ['n', 3, 4, 4])],
        output: [value('y', [])],
        initializer: [floats('mean', [1, 3, 1, 1]), floats('factor', [], [0.0078125]), floats('shift', [3, 1, 1])],
        node: [
          node('Sub', ['x', 'mean'], ['a']),
          node('Mul', ['a', 'factor'], ['b']),
          node('Relu', ['b'], ['r']),
          node('Add', ['r', 'shift'], ['y']),
        ],
      }),
    );
    expect(graph.spec.nodes.map((n) => n.op)).toEqual(['constant', 'sub', 'mul', 'relu', 'parameter', 'add']);
    expect(preprocessing).toEqual({ colourOrder: 'RGB', mean: 0, scale: 1, inputSize: [4, 4] });
    const network = graphNetwork(graph);
    expect([...graph.tensors.keys()]).toEqual(['layers.mean.value', 'layers.shift.value']);
    expect(network.options.graph.nodes.find((n) => n.op === 'mul')!.attrs).toMatchObject({ value: 0.0078125 });
  });
});

describe('numbers', () => {
  const half = (x: number) => ({ 1: 0x3c00, [-2.5]: 0xc100, 0.125: 0x3000, 0: 0 })[x]!;
  const brain = (x: number) => new Uint32Array(Float32Array.of(x).buffer)[0]! >>> 16;
  const values = [1, -2.5, 0.125];
  const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer.slice(0));
  const stored: Readonly<Record<string, Partial<TensorProto>>> = {
    'float, raw': { dataType: 1, rawData: bytesOf(Float32Array.from(values)) },
    float: { dataType: 1, floatData: values },
    'double, raw': { dataType: 11, rawData: bytesOf(Float64Array.from(values)) },
    double: { dataType: 11, doubleData: values },
    'half, raw': { dataType: 10, rawData: bytesOf(Uint16Array.from(values, half)) },
    half: { dataType: 10, int32Data: values.map(half) },
    'bfloat, raw': { dataType: 16, rawData: bytesOf(Uint16Array.from(values, brain)) },
    bfloat: { dataType: 16, int32Data: values.map(brain) },
  };
  const adding = (t: Partial<TensorProto>) =>
    model({
      input: [value('x', ['n', 3])],
      output: [value('y', [])],
      initializer: [{ name: 'w', dims: [3], ...t }],
      node: [node('Relu', ['x'], ['r']), node('Add', ['r', 'w'], ['y'])],
    });
  it.each(Object.entries(stored))('as %s', async (_, t) => {
    const { graph } = await read(adding(t));
    expect([...graph.tensors.get('layers.w.value')!.data]).toEqual(values);
  });

  const outside = (entries: Readonly<Record<string, string>>) =>
    adding({
      dataType: 1,
      dataLocation: 1,
      externalData: Object.entries(entries).map(([key, v]) => ({ key, value: v })),
    });
  it('in a file beside the model', async () => {
    const data = bytesOf(Float32Array.of(9, ...values, 9));
    const { graph } = await read(outside({ location: 'w.bin', offset: '4', length: '12' }), { 'w.bin': data });
    expect([...graph.tensors.get('layers.w.value')!.data]).toEqual(values);
    const files = { 'w.bin': data };
    await expect(read(outside({ location: 'v.bin' }), files)).rejects.toThrow(/m\.onnx: .*'v\.bin' beside it/);
    await expect(read(outside({ location: '../w.bin' }), files)).rejects.toThrow(/m\.onnx: .*location '\.\.\/w\.bin'/);
    await expect(read(outside({ location: '/etc/passwd' }), files)).rejects.toThrow(/of the same folder/);
    await expect(read(outside({ location: 'w.bin', offset: '12', length: '12' }), files)).rejects.toThrow(
      /m\.onnx: w: expected 12 bytes at 12 of 'w\.bin', which has 20/,
    );
    await expect(read(outside({ location: 'w.bin' }), files)).rejects.toThrow(
      /expected 12 bytes for shape \[3\], got 20/,
    );
    await expect(read(outside({ location: 'w.bin', offset: '-4' }), files)).rejects.toThrow(/an offset and a length/);
  });

  it('that are none, or too few, are refused by name', async () => {
    await expect(read(adding({ dataType: 8 }))).rejects.toThrow(
      /^m\.onnx: w: expected elements that are numbers, got string/,
    );
    await expect(read(adding({ dataType: 1, floatData: [1, 2] }))).rejects.toThrow(
      /^m\.onnx: w: expected 3 elements for shape \[3\], got 2/,
    );
    await expect(read(adding({ dataType: 1, dims: [-3] }))).rejects.toThrow(/^m\.onnx: w: expected sizes of 0 or more/);
    await expect(read(adding({ dataType: 1, dims: [2 ** 40, 2 ** 40] }))).rejects.toThrow(
      /^m\.onnx: w: expected sizes/,
    );
  });
});

describe('what is refused', () => {
  const one = (n: readonly NodeProto[], more: Partial<GraphProto> = {}, opset = 13) =>
    model({ input: [value('x', ['n', 3, 8, 8])], output: [value('y', [])], node: n, ...more }, opset);

  it('lists every node that is not supported, by name, operator and set', async () => {
    const error = await read(
      one([
        node('Einsum', ['x'], ['a'], {}, { name: 'mix' }),
        node('Relu', ['a'], ['b']),
        node('FusedConv', ['b'], ['c'], {}, { name: 'fused', domain: 'com.microsoft' }),
        node('MaxPool', ['x'], ['d'], { kernel_shape: [2, 2], dilations: [2, 2] }, { name: 'pool' }),
        node('HardSwish', ['x'], ['e']),
        node('Sum', ['b', 'c', 'd', 'e'], ['y']),
      ]),
    ).catch((e: Error) => e);
    expect(error).toBeInstanceOf(DataError);
    expect((error as Error).message.split('\n')).toEqual([
      'm.onnx: expected nodes that are supported, got 4 that are not:',
      '  mix (Einsum), operator set 13: not a supported operator',
      "  fused (FusedConv), operator set 13: of 'com.microsoft', not of the standard",
      '  pool (MaxPool), operator set 13: dilations [2, 2]',
      '  e (HardSwish), operator set 13: supported in operator sets 14 to 22',
      "Export the model without them ('facegrad ops --onnx' lists what is supported).",
    ]);
  });

  it.each([
    ['no graph', {}, 'expected an ONNX model with a graph'],
    ['an old operator set', one([node('Relu', ['x'], ['y'])], {}, 6), 'expected operator set 7 to 22, got 6'],
    ['a later one', one([node('Relu', ['x'], ['y'])], {}, 99), 'expected operator set 7 to 22, got 99'],
    [
      'a cycle',
      one([node('Add', ['x', 'b'], ['a']), node('Relu', ['a'], ['b']), node('Relu', ['b'], ['y'])]),
      "got 'b', which none makes",
    ],
    [
      'a missing input',
      one([node('Add', ['x', 'nowhere'], ['y'])]),
      "y (Add): expected inputs that nodes before it make, got 'nowhere'",
    ],
    ['an output that nothing makes', one([node('Relu', ['x'], ['z'])]), "makes the output 'y'"],
    ['an output without the image', one([node('Constant', [], ['y'], { value_ints: [1] })]), "'y' does not"],
    ['a value made twice', one([node('Relu', ['x'], ['x']), node('Relu', ['x'], ['y'])]), "got 'x' twice"],
    ['no input', model({ output: [value('y', [])], node: [node('Relu', ['x'], ['y'])] }), 'expected an input'],
    [
      'an input of text',
      one([node('Relu', ['x'], ['y'])], { input: [value('x', ['n', 3], 8)] }),
      "input 'x': expected floating-point numbers, got string",
    ],
    [
      'a negative size',
      one([node('Relu', ['x'], ['y'])], { input: [value('x', ['n', -7])] }),
      'expected sizes of at least 1, got -7',
    ],
    [
      'an image of terabytes',
      one([node('Relu', ['x'], ['y'])], { input: [value('x', ['n', 3, 2 ** 40, 8])] }),
      'expected an image',
    ],
    [
      'a shape that does not fit',
      one([node('Reshape', ['x', 's'], ['y'])], { initializer: [ints('s', [1, 7])] }),
      'y (Reshape): expected 192 numbers in shape [1, 7]',
    ],
    [
      'numbers without end',
      one([node('ConstantOfShape', ['s'], ['c']), node('Add', ['x', 'c'], ['y'])], {
        initializer: [ints('s', [1e6, 1e6])],
      }),
      'c (ConstantOfShape): expected at most',
    ],
    [
      'a range without end',
      one([node('Range', ['a', 'b', 'z'], ['c']), node('Add', ['x', 'c'], ['y'])], {
        initializer: [ints('a', [0], []), ints('b', [9], []), ints('z', [0], [])],
      }),
      'c (Range): expected a range of finitely many',
    ],
    [
      'repeats without end',
      one([node('Tile', ['x', 's'], ['y'])], { initializer: [ints('s', [1, 1, 1e9, 1])] }),
      'y (Tile): expected at most',
    ],
    [
      'sizes without end',
      one([node('Resize', ['x', '', '', 's'], ['y'])], { initializer: [ints('s', [1, 3, 1e9, 8])] }),
      'y (Resize): expected sizes',
    ],
    [
      'a thousand things of a million numbers',
      one(
        [
          node('ConstantOfShape', ['s'], ['c0']),
          ...Array.from({ length: 999 }, (_, i) => node('Neg', [`c${i}`], [`c${i + 1}`])),
          node('ReduceSum', ['c999'], ['c'], { keepdims: 0 }),
          node('Add', ['x', 'c'], ['y']),
        ],
        { initializer: [ints('s', [1000, 1000])] },
      ),
      '(Neg): expected less that can be computed beforehand',
    ],
    [
      'indices outside',
      one([node('Gather', ['x', 's'], ['y'], { axis: 1 })], { initializer: [ints('s', [3])] }),
      'y (Gather): expected an index below 3, got 3',
    ],
    [
      'weights of other channels',
      one([node('Conv', ['x', 'w'], ['y'])], { initializer: [floats('w', [4, 2, 1, 1])] }),
      'y (Conv): expected 2 channels',
    ],
    [
      'a kernel larger than its image',
      one([node('Conv', ['x', 'w'], ['y'])], { initializer: [floats('w', [1, 3, 9, 9])] }),
      'y (Conv):',
    ],
  ] as const)('%s', async (_, m: ModelProto, expected) => {
    const error = await read(m).catch((e: Error) => e);
    expect(error).toBeInstanceOf(DataError);
    const lines = (error as Error).message.split('\n');
    expect(lines[0]).toMatch(/^m\.onnx: /);
    expect(lines[0]).toContain(expected);
    expect(lines.length).toBeGreaterThan(1);
  });
});

it('damaged files give a graph or an error that names them', { timeout: 120_000 }, async () => {
  const file = encodeMessage('ModelProto', model(small()));
  const { read: whole, refused } = await fuzz(
    async (bytes) => {
      const source = sourceOf({ 'm.onnx': bytes }, 'm.onnx');
      const { graph } = (await onnxFormat.read(source, { inputSize: [6, 5] })) as GraphFile;
      graphNetwork(graph, 'm.onnx');
    },
    file,
    'm.onnx',
  );
  // Most of the file is numbers, any of which may be others.
  expect(whole).toBeGreaterThan(100);
  expect(refused).toBeGreaterThan(100);
});

it('is told from its first bytes and imported', async () => {
  const bytes = encodeMessage('ModelProto', model(small(), 13, { producerName: 'somebody', producerVersion: '2' }));
  const { network, format, metadata } = await importModel(sourceOf({ model: bytes }, 'model'), { inputSize: [6, 5] });
  expect(format).toBe('onnx');
  expect(metadata).toMatchObject({ producer: 'somebody 2', opset: '13', importedFrom: 'model (onnx)' });
  expect(network.options.embeddingSize).toBe(7);
});

it('operators of wrong inputs and attributes give a graph or an error that names the node', {
  timeout: 120_000,
}, async () => {
  let counter = 0;
  const draw = (n: number) => Math.floor((threefry(keyOf(8), counter++, 0)[0] / 2 ** 32) * n);
  const pick = <T>(list: readonly T[]): T => list[draw(list.length)]!;
  const numbers = [-(2 ** 63), -1e9, -3, -1, 0, 1, 2, 3, 5, 100, 2 ** 31, 2 ** 53, 2 ** 62];
  const names = [
    'axis',
    'axes',
    'kernel_shape',
    'strides',
    'pads',
    'dilations',
    'group',
    'perm',
    'starts',
    'ends',
    'split',
    'blocksize',
    'to',
    'value',
    'ratio',
    'shape',
    'num_outputs',
    'keepdims',
    'mode',
    'auto_pad',
    'ceil_mode',
  ];
  const initializer = [
    floats('a', [3]),
    floats('b', [4, 3, 3, 3]),
    floats('c', []),
    ints('d', [1, -1]),
    ints('e', [2 ** 40, -(2 ** 40), 7]),
    ints('f', []),
    ints('g', [0], []),
    { name: 'h', dims: [2], dataType: dataTypes.bool, int32Data: [1, 0] },
    floats('i', [0, 3]),
    floats('j', [1, 1, 2, 2], [1, 1, 2, 1e30]),
  ];
  let refused = 0;
  for (let round = 0; round < 10; round++)
    for (const [opType, { opsets }] of onnxOperators) {
      const more = Array.from({ length: draw(6) }, () => pick(['x', 'x', 'z', '', ...initializer.map((t) => t.name!)]));
      const input = draw(4) ? ['x', ...more] : more;
      const list = () => Array.from({ length: draw(6) }, () => pick(numbers));
      const attributes = Array.from({ length: draw(5) }, () => {
        const held = pick([() => pick(numbers), list, () => 'linear', () => pick(initializer)])();
        return [pick(names), held] as const;
      });
      const graph: GraphProto = {
        input: [value('x', ['n', 3, 6, 5]), value('z', ['n', 3])],
        output: [value('y', [])],
        initializer,
        node: [node(opType, input, pick([['y'], ['y', 'w'], ['', 'y']]), Object.fromEntries(attributes))],
      };
      const start = performance.now();
      const error = await read(model(graph, pick([7, 11, 13, 22].filter((v) => v <= opsets[1])))).then(
        ({ graph: made }) => void graphNetwork(made, 'm.onnx'),
        (e: Error) => e,
      );
      const what = JSON.stringify([opType, input, attributes]);
      expect(performance.now() - start, what).toBeLessThan(2000);
      if (!error) continue;
      expect(error.name, `${what}: ${error.stack}`).toBe('DataError');
      expect(error.message, what).toMatch(/^m\.onnx: /);
      refused++;
    }
  expect(refused).toBeGreaterThan(100);
});
