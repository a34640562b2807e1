/** ncnn's files: layers as PyTorch computes them, text and binary, a published network, and what is wrong with files. */
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { mxnetFormat } from '../../src/weights/mxnet.ts';
import { readParam } from '../../src/weights/ncnn/param.ts';
import { ncnnFormat } from '../../src/weights/ncnn.ts';
import { fuzz } from '../helpers/fuzz.ts';
import {
  base64,
  embedGolden,
  farthest,
  goldenEmbeddings,
  heldToReference,
  networkOfFile,
  published,
  publishedSource,
  type ReferenceCase,
  sourceOf,
} from '../helpers/published.ts';
import { reference } from '../helpers/reference.ts';

interface Case extends ReferenceCase {
  readonly param: string;
  readonly bin: string;
}
const { cases } = reference('ncnn') as {
  cases: Case[];
};
const text = (s: string) => new TextEncoder().encode(s);
const files = ({ param, bin }: Pick<Case, 'param' | 'bin'>) => ({ 'm.param': text(param), 'm.bin': base64(bin) });
const first = cases[0]!;
const read = (c: Pick<Case, 'param' | 'bin'>, name = 'm.param', inputSize?: readonly [number, number]) =>
  ncnnFormat.read(sourceOf(files(c), name), { inputSize });

describe('networks as PyTorch computes them', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    await heldToReference(await read(c, 'm.param', c.size), c);
  });
});

/** The binary form of a text, as ncnn2mem writes it; whole numbers and floats by how they are written. */
function binary(param: string): Uint8Array {
  const types = { Input: 16, Convolution: 6, ConvolutionDepthWise: 42, BinaryOp: 40, BatchNorm: 2, PReLU: 23 } as const;
  const more = { Split: 33, Eltwise: 10, InnerProduct: 15 } as const;
  const numbers: (number | string)[] = [7767517];
  const blobs: string[] = [];
  const number = (s: string) => (/^-?\d+$/.test(s) ? Number(s) : s);
  for (const [i, line] of param.trim().split('\n').entries()) {
    const [a, , ...words] = line.trim().split(/\s+/);
    if (i === 1) numbers.push(...line.split(' ').map(Number));
    if (i < 2) continue;
    const [ins, outs] = [Number(words[0]), Number(words[1])];
    const values = words.slice(2, 2 + ins + outs);
    for (const v of values.slice(ins)) blobs.push(v);
    numbers.push({ ...types, ...more }[a as 'Input' | 'Split'], ins, outs, ...values.map((v) => blobs.indexOf(v)));
    for (const word of words.slice(2 + ins + outs)) {
      const [key, value] = word.split('=') as [string, string];
      numbers.push(Number(key), ...value.split(',').map(number));
    }
    numbers.push(-233);
  }
  const out = new DataView(new ArrayBuffer(4 * numbers.length));
  for (const [i, n] of numbers.entries())
    if (typeof n === 'number') out.setInt32(4 * i, n, true);
    else out.setFloat32(4 * i, Number(n), true);
  return new Uint8Array(out.buffer);
}

describe('files', () => {
  it('are found by the name of either', async () => {
    const a = await read(first, 'm.param', [8, 8]);
    expect(await read(first, 'm.bin', [8, 8])).toEqual(a);
    const head = base64(first.bin).subarray(0, 4096);
    expect(ncnnFormat.looksLike(text(first.param), 'x')).toBe(true);
    expect(ncnnFormat.looksLike(head, 'm.bin')).toBe(true);
    expect(ncnnFormat.looksLike(head, 'm.pth')).toBe(false);
    expect(ncnnFormat.looksLike(text('PK\x03\x04 a zip file'), 'pytorch_model.bin')).toBe(false);
  });
  it('have a binary form of the text', async () => {
    const a = await read(first, 'm.param', [8, 8]);
    const both = { 'm.param.bin': binary(first.param), 'm.bin': base64(first.bin) };
    const b = await ncnnFormat.read(sourceOf(both, 'm.param.bin'), { inputSize: [8, 8] });
    const ops = (f: typeof a) => f.kind === 'graph' && f.graph.spec.nodes.map((n) => [n.op, n.attrs]);
    expect(ops(b)).toEqual(ops(a));
    expect(await ncnnFormat.read(sourceOf(both, 'm.bin'), { inputSize: [8, 8] })).toEqual(b);
    await heldToReference(b, first);
  });
  it('say the size of images, or it is found', async () => {
    const stated = cases.find((c) => c.name.startsWith('Scale'))!;
    expect((await read(stated)).notes).not.toContainEqual(expect.stringContaining('size'));
    expect(networkOfFile(await read(stated)).options.graph.inputs[0]!.shape).toEqual([5, 6, 4]);
    await expect(read(first)).rejects.toThrow(/^m\.param: /);
  });
});

const edited = (from: string | RegExp, to: string): Case => ({ ...first, param: first.param.replace(from, to) });

describe('what is wrong is named', () => {
  it.each([
    [edited('PReLU   ', 'Deconvolution'), /^m\.param: expected known layers, got Deconvolution \(l5\)\n/],
    [edited('7767517', '7767518'), /^m\.param: line 1: expected ncnn's 7767517, got '7767518'\n/],
    [edited(/\nBatchNorm[^\n]*/, ''), /^m\.param: line \d+: the file ends before its last layer\n/],
    [edited('0=8 1=3', '0=8 1=three'), /^m\.param: line 6: expected a number, got '1=three'\n/],
    [edited('0=8 1=3', '0=7 1=3'), /^m\.param: l3 \(Convolution\): expected 7 filters of 3x3, got 216 weights\n/],
    [
      edited('0=6 1=1 2=48', '0=6 1=1 2=48 8=1'),
      /^m\.param: \w+ \(InnerProduct\): an int8 layer \(8=int8_scale_term\) is not supported\n/,
    ],
    [
      edited(/1 1 b0 b1/, '1 1 b9 b1'),
      /^m\.param: l1 \(BinaryOp\): expected 'b9' of a layer before it, but none makes it\n/,
    ],
  ])('%#', async (c, message) => {
    await expect(read(c, 'm.param', [8, 8])).rejects.toThrow(message);
    await expect(read(c, 'm.param', [8, 8])).rejects.toThrow(DataError);
  });
  it('where weights are quantised', async () => {
    const bin = base64(first.bin);
    const tagged = (tag: number) => {
      const copy = bin.slice();
      new DataView(copy.buffer).setUint32(0, tag, true);
      return ncnnFormat.read(sourceOf({ 'm.param': text(first.param), 'm.bin': copy }, 'm.param'), {
        inputSize: [8, 8],
      });
    };
    await expect(tagged(0x000d4b38)).rejects.toThrow(/expected weights as float32 or float16 at offset 0, got int8\n/);
    await expect(tagged(1)).rejects.toThrow(/offset 0, got the tag 0x1, a table of 256 values/);
  });
  it('where the numbers are too few or too many', async () => {
    const bin = base64(first.bin);
    const cut = (to: Uint8Array) =>
      ncnnFormat.read(sourceOf({ 'm.param': text(first.param), 'm.bin': to }, 'm.param'), { inputSize: [8, 8] });
    await expect(cut(bin.slice(0, -4))).rejects.toThrow(
      /expected 6 numbers of 24 bytes at offset \d+, but the file ends/,
    );
    const longer = new Uint8Array(bin.length + 4);
    longer.set(bin);
    await expect(cut(longer)).rejects.toThrow(
      /^m\.bin: expected the file to end with its last layer, but 4 bytes follow\n/,
    );
    await expect(ncnnFormat.read(sourceOf({ 'm.param': text(first.param) }, 'm.param'), {})).rejects.toThrow(
      /^m\.param: expected m\.bin beside it, but there is none\n/,
    );
  });
  it('in damaged files', async () => {
    const all = cases.slice(0, 2).concat(cases.slice(-6));
    for (const [i, c] of all.entries()) {
      const few = { cuts: 30, flips: 60, numbers: i ? 10 : 60, seed: i };
      const whole = (b: Uint8Array) =>
        ncnnFormat.read(sourceOf({ ...files(c), 'm.param': b }, 'm.param'), { inputSize: c.size });
      const result = await fuzz(async (b) => networkOfFile(await whole(b)), text(c.param), 'm.', few);
      expect(result.refused).toBeGreaterThan(10);
    }
    const form = await fuzz((b) => readParam(b, 'm'), binary(first.param), 'm', { numbers: 400 });
    expect(form.refused).toBeGreaterThan(50);
  });
});

describe.skipIf(!published)('insightface-y1', () => {
  const golden = () => goldenEmbeddings('insightface-y1');
  it('gives the golden embeddings, as far as its rounded factor lets it', async () => {
    const network = networkOfFile(await ncnnFormat.read(publishedSource('insightface-y1', 'mobilefacenet.param'), {}));
    const device = await WasmDevice.create({ threads: 2 });
    const rows = await embedGolden(network, device, 32);
    expect(farthest(rows, golden().all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 8, true), golden().mirrored)).toBeLessThan(1e-4);
    await device.dispose();
  });
  it("gives MXNet's with the factor that was rounded", async () => {
    const source = publishedSource('insightface-y1', 'mobilefacenet.param');
    const param = text(new TextDecoder().decode(await source.bytes()).replace('2=0.007812\n', '2=0.0078125\n'));
    const changed = publishedSource('insightface-y1', 'mobilefacenet.param', { 'mobilefacenet.param': param });
    const device = await WasmDevice.create({ threads: 2 });
    const [a, b] = await Promise.all([
      ncnnFormat.read(changed, {}),
      mxnetFormat.read(publishedSource('insightface-y1', 'model-0000.params'), {}),
    ]);
    const mine = await embedGolden(networkOfFile(a), device, 8);
    const theirs = await embedGolden(networkOfFile(b), device, 8);
    expect(Math.max(...mine.map((v, i) => Math.abs(v - theirs[i]!)))).toBeLessThan(3e-6);
    await device.dispose();
  });
});
