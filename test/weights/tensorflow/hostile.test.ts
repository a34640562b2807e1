/** Damaged and hostile graphs: refused by name, in little time and memory. */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from 'vitest';
import { formatOf } from '../../../src/weights/import.ts';
import { frozenGraph } from '../../../src/weights/tensorflow/frozenGraph.ts';
import type { TfAttr, TfNode } from '../../../src/weights/tensorflow/graphDef.ts';
import { importGraph } from '../../../src/weights/tensorflow/importGraph.ts';
import { tfjs } from '../../../src/weights/tensorflow/tfjs.ts';
import { constant } from '../../../src/weights/tensorflow/wire.ts';
import { fuzz } from '../../helpers/fuzz.ts';
import { sourceOf } from '../../helpers/published.ts';
import { bytesOf, models, tfjsFiles } from './models.ts';

const pb = (bytes: Uint8Array) => frozenGraph.read(sourceOf({ 'x.pb': bytes }, 'x.pb'), {});
const node = (
  name: string,
  op: string,
  inputs: readonly string[] = [],
  attrs: Record<string, TfAttr> = {},
): TfNode => ({
  name,
  op,
  inputs,
  attrs: new Map(Object.entries(attrs)),
});
const images = node('x', 'Placeholder', [], { dtype: { type: 'float' }, shape: { shape: [-1, 4, 4, 3] } });
const given = (nodes: readonly TfNode[]) => importGraph([images, ...nodes], { source: 'x.pb' });

describe('damaged files', () => {
  test('frozen graphs', async () => {
    for (const name of ['layers', 'shapes', 'control'])
      await fuzz(pb, bytesOf(models.graphs[name]!.graph), 'x.pb', { cuts: 30, flips: 60, numbers: 60 });
  });
  test('TFJS models', async () => {
    const files = tfjsFiles(models.tfjs.uint8!);
    await fuzz(
      (bytes) => tfjs.read(sourceOf({ ...files, 'model.json': bytes }, 'model.json'), {}),
      files['model.json'],
      'model.json',
      { cuts: 30, flips: 100, numbers: 60 },
    );
  });
});

describe('files that ask for far more numbers than they hold', () => {
  const dims = node('dims', 'Const', [], { value: { tensor: constant('int', [1], [2 ** 22]) } });
  const one = node('one', 'Const', [], { value: { tensor: constant('float', [], [1]) } });
  test('by operators on constants', () => {
    const fills = Array.from({ length: 50 }, (_, i) => node(`fill${i}`, 'Fill', ['dims', 'one']));
    expect(() => given([dims, one, ...fills, node('y', 'Relu', ['x'])])).toThrow(
      /^x\.pb: expected a network, got arithmetic on constants that makes far more numbers than it holds\n/,
    );
  });
  test('by tensors whose last value is repeated', async () => {
    const message = (...fields: readonly (readonly [number, Uint8Array | number])[]) => {
      const writer = new BinaryWriter();
      for (const [field, value] of fields)
        if (typeof value === 'number') writer.tag(field, WireType.Varint).int64(value);
        else writer.tag(field, WireType.LengthDelimited).bytes(value);
      return writer.finish();
    };
    const text = (s: string) => new TextEncoder().encode(s);
    const shape = message([2, message([1, 2 ** 22])]);
    const tensor = message([8, message([1, 1], [2, shape], [5, new Uint8Array(4)])]);
    const consts = Array.from(
      { length: 50 },
      (_, i) =>
        [1, message([1, text(`c${i}`)], [2, text('Const')], [5, message([1, text('value')], [2, tensor])])] as const,
    );
    await expect(pb(message(...consts.slice(0, 2)))).rejects.toThrow(/got no output that can be had/);
    await expect(pb(message(...consts))).rejects.toThrow(/^x\.pb: .*elements and more that it does not hold/);
  });
  test('by shards that are named again', async () => {
    const manifest = [{ weights: [], paths: ['a.bin', 'a.bin'] }];
    const files = { 'm.json': new TextEncoder().encode(JSON.stringify(manifest)), 'a.bin': new Uint8Array(0) };
    await expect(tfjs.read(sourceOf(files, 'm.json'), {})).rejects.toThrow(
      /^m\.json: expected each of its files once, but it names 'a\.bin' twice\n/,
    );
  });
});

describe('what is refused', () => {
  test('operators that are unknown, all by name', () => {
    expect(() =>
      given([node('a', 'NonMaxSuppressionV3', ['x']), node('b', 'MirrorPad', ['x']), node('c', 'Relu', ['b'])]),
    ).toThrow(
      /^x\.pb: expected a graph.*\n {2}a \(NonMaxSuppressionV3\) is not supported\n {2}b \(MirrorPad\) is not supported\n/,
    );
  });
  test('an output that needs one of them is left out where there are others', () => {
    const { graph, notes } = given([node('a', 'Where', ['x']), node('b', 'Relu', ['x'])]);
    expect(graph.spec.outputs.map((o) => o.name)).toEqual(['b']);
    expect(notes).toEqual(['output a is left out: a (Where) is not supported']);
  });
  test('channels first', () => {
    const nodes = [
      node('k', 'Const', [], { value: { tensor: constant('float', [1, 1, 3, 2], new Float32Array(6)) } }),
      node('c', 'Conv2D', ['x', 'k'], {
        data_format: { s: 'NCHW' },
        padding: { s: 'SAME' },
        strides: { numbers: [1, 1, 1, 1] },
      }),
    ];
    expect(() => given(nodes)).toThrow(/c \(Conv2D\): data_format NCHW: only NHWC is read/);
  });
  test('division that is 0 where the divisor is', () => {
    const zero = node('zero', 'Const', [], { value: { tensor: constant('float', [], [0]) } });
    const two = node('two', 'Const', [], { value: { tensor: constant('float', [], [2]) } });
    expect(() => given([zero, node('y', 'DivNoNan', ['x', 'zero'])])).toThrow(/y \(DivNoNan\): a divisor is 0/);
    expect(() => given([node('y', 'DivNoNan', ['x', 'x'])])).toThrow(/divisor is not constant/);
    expect(given([two, node('y', 'DivNoNan', ['x', 'two'])]).graph.spec.nodes[0]!.op).toBe('div');
  });
  test('loops', () => {
    const nodes = [
      node('enter', 'Enter', ['x']),
      node('merge', 'Merge', ['enter', 'next']),
      node('next', 'NextIteration', ['merge']),
      node('exit', 'Exit', ['merge']),
    ];
    expect(() => given(nodes)).toThrow(/is not supported|part of a loop/);
    expect(() => given([node('a', 'Relu', ['b']), node('b', 'Relu', ['a']), node('c', 'Relu', ['b'])])).toThrow(
      /part of a loop/,
    );
  });
  test('inputs that are not there, and images of unknown size', () => {
    expect(() => given([node('a', 'Relu', ['nothing'])])).toThrow(/nothing is read but not in the graph/);
    const open = node('y', 'Placeholder', [], { dtype: { type: 'float' }, shape: { shape: [-1, -1, -1, 3] } });
    const guessed = importGraph([open, node('a', 'Relu', ['y'])], { source: 'x.pb' });
    expect(guessed.graph.spec.inputs[0]!.shape).toEqual([112, 112, 3]);
    expect(guessed.notes[0]).toMatch(/the file does not say the size of images; 112x112 fits/);
    // A dense layer fits one size alone.
    const flat = [
      node('s', 'Const', [], { value: { tensor: constant('int', [2], [-1, 160 * 160 * 3]) } }),
      node('w', 'Const', [], { value: { tensor: constant('float', [160 * 160 * 3, 1], new Float32Array(76800)) } }),
      node('r', 'Reshape', ['y', 's']),
      node('m', 'MatMul', ['r', 'w']),
    ];
    expect(importGraph([open, ...flat], { source: 'x.pb' }).graph.spec.inputs[0]!.shape).toEqual([160, 160, 3]);
    const row = node('y', 'Placeholder', [], { dtype: { type: 'float' }, shape: { shape: [-1, -1] } });
    expect(() => importGraph([row, node('a', 'Relu', ['y'])], { source: 'x.pb' })).toThrow(/does not say the size/);
    const { graph } = importGraph([open, node('a', 'Relu', ['y'])], { source: 'x.pb', inputSize: [8, 6] });
    expect(graph.spec.inputs).toEqual([{ name: 'y', shape: [8, 6, 3] }]);
  });
  test('a SavedModel, which is another message', async () => {
    // SavedModel { saved_model_schema_version = 1; meta_graphs = 2 }
    const bytes = new BinaryWriter()
      .tag(1, WireType.Varint)
      .int64(1)
      .tag(2, WireType.LengthDelimited)
      .bytes(new Uint8Array(3))
      .finish();
    const source = sourceOf({ 'saved_model.pb': bytes }, 'saved_model.pb');
    expect((await formatOf(source)).name).toBe('tensorflow-graph');
    await expect(pb(bytes)).rejects.toThrow(
      /^x\.pb: expected a TensorFlow graph, got one without nodes\nGive a frozen graph/,
    );
  });
  test('files of a TFJS model outside of its folder', async () => {
    const { model, shards } = models.tfjs.fused!;
    const manifest = (model.weightsManifest as { weights: unknown[] }[]).map((g) => ({
      ...g,
      paths: ['../secret.bin'],
    }));
    const source = sourceOf(
      {
        ...tfjsFiles({ model: { ...model, weightsManifest: manifest }, shards }),
        '../secret.bin': bytesOf(shards[0]!),
      },
      'model.json',
    );
    await expect(tfjs.read(source, {})).rejects.toThrow(/expected its weights in '\.\.\/secret\.bin' beside it/);
  });
});

test('arithmetic on the number of images stays right for any number', () => {
  const size = (name: string, n: number) => node(name, 'Const', [], { value: { tensor: constant('int', [], [n]) } });
  // [images, height, width, channels] taken apart, [images · height, width · channels] put together.
  const nodes = [
    node('s', 'Shape', ['x']),
    node('u', 'Unpack', ['s'], { num: { i: 4 }, axis: { i: 0 } }),
    node('rows', 'Mul', ['u', 'u:1']),
    node('columns', 'Mul', ['u:2', 'u:3']),
    size('three', 3),
    node('p', 'Pack', ['rows', 'columns']),
    node('r', 'Reshape', ['x', 'p']),
    node('bad', 'Mul', ['rows', 'three']),
    node('q', 'Pack', ['bad', 'u']),
    node('t', 'Reshape', ['x', 'q']),
  ];
  const { graph, notes } = given(nodes);
  expect(graph.spec.nodes.at(-1)).toMatchObject({ op: 'reshape', attrs: { shape: [-1, 12] } });
  expect(notes.join()).toMatch(/output t is left out: t \(Reshape\): shape/);
});

describe('what a small file may not cost', () => {
  test('tensors far larger than their bytes, and shapes beyond all numbers', async () => {
    for (const sizes of [[2 ** 20, 2 ** 20], [2 ** 30], [-1, 3], [2 ** 40, 0]]) {
      const w = new BinaryWriter();
      const open = (field: number) => w.tag(field, WireType.LengthDelimited).fork();
      open(1).tag(1, WireType.LengthDelimited).string('k').tag(2, WireType.LengthDelimited).string('Const');
      open(5).tag(1, WireType.LengthDelimited).string('value');
      open(2);
      open(8).tag(1, WireType.Varint).int32(1);
      open(2);
      for (const n of sizes) open(2).tag(1, WireType.Varint).int64(n).join();
      w.join().tag(5, WireType.Bit32).float(1).join().join().join().join();
      await expect(pb(w.finish()), `${sizes}`).rejects.toThrow(/^x\.pb: /);
    }
  });
  test('numbers made out of nothing', () => {
    const size = (n: number) => node(`n${n}`, 'Const', [], { value: { tensor: constant('int', [1], [n]) } });
    const one = node('one', 'Const', [], { value: { tensor: constant('float', [], [1]) } });
    for (const n of [2 ** 31, 2 ** 40, -5])
      expect(
        () => given([size(n), one, node('f', 'Fill', [`n${n}`, 'one']), node('a', 'Add', ['x', 'f'])]),
        `${n}`,
      ).toThrow(/f \(Fill\) is not supported/);
  });
  test('a chain of many nodes needs no stack', () => {
    const n = 20_000;
    const chain = Array.from({ length: n }, (_, i) => node(`n${i}`, 'Identity', [i ? `n${i - 1}` : 'x']));
    const { graph } = given([...chain, node('last', 'Relu', [`n${n - 1}`])]);
    expect(graph.spec.nodes.map((g) => g.op)).toEqual(['relu']);
  });
});
