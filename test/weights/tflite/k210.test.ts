/** Files for the K210's compiler: operators of its list, explicit zeros where the stride is 2, raw calibration data. */
import { describe, expect, test } from 'vitest';
import { DataError, UsageError } from '../../../src/core/errors.ts';
import { host } from '../../../src/core/tensor.ts';
import { traced } from '../../../src/models/graph/traced.ts';
import { create } from '../../../src/models/index.ts';
import { initialize } from '../../../src/nn/module.ts';
import { exportK210 } from '../../../src/weights/tflite/k210.ts';
import { TfliteFile } from '../../../src/weights/tflite/model.ts';
import { paddings } from '../../../src/weights/tflite/schema.ts';
import { smallNetwork } from '../../models/everyGraph.ts';
import { expectAgreement, noise } from './agree.ts';

const pixels = (n: number, h: number, w: number) =>
  host(
    Uint8Array.from({ length: n * h * w * 3 }, (_, i) => 20 + ((i * 37) % 200)),
    [n, h, w, 3],
    'u8',
  );

describe.each(['k210', 'k210-m', 'k210-full'])('%s', (name) => {
  test('is a file of what nncase 0.2 reads', async () => {
    const network = initialize(create(name), 1);
    const graph = await traced(network);
    const { model, notes } = exportK210(graph, [pixels(1, 112, 112)], { preprocessing: network.preprocessing });
    const file = new TfliteFile(model, name);
    expect(file.inputs).toHaveLength(1);
    expect(file.tensors[file.inputs[0]![1]]!.shape).toEqual([1, 112, 112, 3]);
    expect([...new Set(file.nodes.map((n) => n.op))].sort()).toEqual([
      'CONV_2D',
      'DEPTHWISE_CONV_2D',
      'FULLY_CONNECTED',
      'LEAKY_RELU',
      'PAD',
      'RESHAPE',
    ]);
    // Stride 2 takes an explicitly padded map; stride 1 pads itself the same on all sides.
    const makers = new Map(file.nodes.map((n) => [n.outputs[0]!, n]));
    let halved = 0;
    for (const n of file.nodes.filter((m) => m.op.includes('CONV'))) {
      const { strideH, padding } = n.options;
      const before = makers.get(n.inputs[0]!);
      const kernel = file.tensors[n.inputs[1]!]!.shape[1];
      if (strideH === 2) {
        halved++;
        expect(padding).toBe(paddings.valid);
        expect(before?.op).toBe('PAD');
        expect(file.constant(before!.inputs[1]!)!.data).toEqual(Int32Array.of(0, 0, 1, 1, 1, 1, 0, 0));
      } else expect(padding).toBe(kernel === 3 ? paddings.same : paddings.valid);
    }
    expect(halved).toBe(4);
    // The global layer and the dense one are small; everything else is the accelerator's.
    expect(notes.map((n) => n.replace(/^\S+ /, ''))).toEqual([
      '(DEPTHWISE_CONV_2D) runs on the CPU: its kernel is 7x7',
      ...(name === 'k210' ? [] : ['(CONV_2D) runs on the CPU: it makes [1, 1, 128] of [1, 1, 128]']).map((s) =>
        name === 'k210-full' ? s.replace('of [1, 1, 128]', 'of [1, 1, 512]') : s,
      ),
      '(FULLY_CONNECTED) runs on the CPU: it is no convolution',
    ]);
  });
});

test('gives the embeddings of its network', async () => {
  const network = smallNetwork('k210-full');
  const graph = await traced(network);
  const [h, w] = network.preprocessing.inputSize;
  const { model } = exportK210(graph, [pixels(1, h, w)], { preprocessing: network.preprocessing });
  await expectAgreement(model, graph, [noise([1, h, w, 3])]);
});

describe('calibration', () => {
  const network = smallNetwork('k210');
  const [h, w] = network.preprocessing.inputSize;
  const prepared = (batches: number[], preprocessing = network.preprocessing) =>
    traced(network).then((graph) =>
      exportK210(
        graph,
        batches.map((n) => pixels(n, h, w)),
        { preprocessing, name: 'face' },
      ),
    );

  test('is one file a picture: float32, channels first, prepared', async () => {
    const { calibration } = await prepared([2, 1]);
    expect([...calibration.keys()]).toEqual(['0000.bin', '0001.bin', '0002.bin']);
    const given = pixels(2, h, w).data;
    const second = new Float32Array(calibration.get('0001.bin')!.slice().buffer);
    expect(second).toHaveLength(3 * h * w);
    for (const [c, i] of [
      [0, 0],
      [1, 5],
      [2, h * w - 1],
    ] as const)
      expect(second[c * h * w + i]).toBe(Math.fround((given[(h * w + i) * 3 + c]! - 127.5) / 128));
    // The first has a black and a white pixel, so that the input's range is that of all pixels.
    const first = new Float32Array(calibration.get('0000.bin')!.slice().buffer);
    for (const c of [0, 1, 2])
      expect([...first.subarray(c * h * w, c * h * w + 3)]).toEqual(
        [0, 255, given[2 * 3 + c]!].map((p) => Math.fround((p - 127.5) / 128)),
      );
  });

  test('has the colours and scales of the network', async () => {
    const { calibration, instructions } = await prepared([2], {
      ...network.preprocessing,
      colourOrder: 'BGR',
      mean: [104, 117, 123],
      scale: [1, 0.5, 0.25],
    });
    const given = pixels(2, h, w).data;
    const second = new Float32Array(calibration.get('0001.bin')!.slice().buffer);
    const at = (c: number) => given[(h * w + 7) * 3 + c]!;
    expect([0, 1, 2].map((c) => second[c * h * w + 7])).toEqual([
      at(2) - 104,
      (at(1) - 117) * 0.5,
      (at(0) - 123) * 0.25,
    ]);
    expect(instructions).toContain('--input-type float');
  });

  test('comes with the call of the compiler', async () => {
    const { instructions } = await prepared([1]);
    expect(instructions).toContain(
      'ncc compile face.tflite face.kmodel -i tflite -t k210 --dataset calibration --dataset-format raw',
    );
    expect(instructions).toContain('range is -0.99609375 to 0.99609375, pixels 0 to 255');
  });

  test('must be there, of the right size', async () => {
    await expect(prepared([])).rejects.toThrow(UsageError);
    const graph = await traced(network);
    expect(() => exportK210(graph, [pixels(1, 8, 8)], { preprocessing: network.preprocessing })).toThrow(DataError);
  });
});

test('a slope per channel, and what else the compiler has not, is refused by name', async () => {
  const network = smallNetwork('mobilefacenet');
  const graph = await traced(network);
  const [h, w] = network.preprocessing.inputSize;
  expect(() => exportK210(graph, [pixels(1, h, w)], { preprocessing: network.preprocessing })).toThrow(
    'K210: expected operators that nncase 0.2 reads, got\n  PRELU (33)\nTrain one of the networks made for it: k210-s, k210-m or k210-full.',
  );
});

test('images that the accelerator cannot hold are told', async () => {
  const network = initialize(create('k210', { inputSize: [224, 224], width: 2 }), 1);
  const { notes } = exportK210(await traced(network), [pixels(1, 224, 224)], { preprocessing: network.preprocessing });
  expect(notes.join('\n')).toContain("of the accelerator's 2 MB; use smaller images");
});
