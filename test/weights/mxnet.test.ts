/** MXNet's files: arrays of every age, symbols of every form, operators as PyTorch computes them, and a published network. */
import { describe, expect, it } from 'vitest';
import { DataError } from '../../src/core/errors.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { variablesOf } from '../../src/nn/module.ts';
import { readParams } from '../../src/weights/mxnet/params.ts';
import { mxnetFormat } from '../../src/weights/mxnet.ts';
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
  readonly symbol: { readonly nodes: { op: string; name: string; attrs?: Record<string, string> }[] };
  readonly params: string;
}
const { cases } = reference('mxnet') as {
  cases: Case[];
};
const bytes = (json: unknown) => new TextEncoder().encode(JSON.stringify(json));
const files = ({ symbol, params }: Pick<Case, 'symbol' | 'params'>) => ({
  'm-symbol.json': bytes(symbol),
  'm-0000.params': base64(params),
});
const first = cases[0]!;
const read = (c: Case, name = 'm-0000.params', inputSize?: readonly [number, number]) =>
  mxnetFormat.read(sourceOf(files(c), name), { inputSize });

describe('networks as PyTorch computes them', () => {
  it.each(cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    await heldToReference(await read(c, 'm-0000.params', c.size), c);
  });
});

describe('files', () => {
  it('are found by the name of either', async () => {
    const [a, b] = await Promise.all([read(first, 'm-0000.params', [8, 8]), read(first, 'm-symbol.json', [8, 8])]);
    expect(a).toEqual(b);
    const later = { 'm-symbol.json': bytes(first.symbol), 'm-0012.params': base64(first.params) };
    expect(await mxnetFormat.read(sourceOf(later, 'm-symbol.json'), { inputSize: [8, 8] })).toEqual(a);
    expect(await mxnetFormat.read(sourceOf(later, 'm-0012.params'), { inputSize: [8, 8] })).toEqual(a);
  });
  it('are known by their beginning', () => {
    const { 'm-symbol.json': symbol, 'm-0000.params': params } = files(first);
    expect(mxnetFormat.looksLike(symbol.subarray(0, 4096), 'm-symbol.json')).toBe(true);
    expect(mxnetFormat.looksLike(params.subarray(0, 4096), 'm')).toBe(true);
    expect(mxnetFormat.looksLike(bytes({ modelTopology: {} }), 'model.json')).toBe(false);
  });
  it('are a state without the symbol', async () => {
    const state = await mxnetFormat.read(sourceOf({ 'a.params': base64(first.params) }, 'a.params'), {});
    expect(state).toMatchObject({ kind: 'state', convention: 'mxnet' });
    expect(state.kind === 'state' && [...state.tensors.keys()].slice(0, 3)).toEqual([
      'conv0_weight',
      'bn0_gamma',
      'bn0_beta',
    ]);
  });
  it('hold the same numbers in every age of the format', () => {
    const shapes = cases.slice(0, 3).map((c) => [...readParams(base64(c.params), 'p')].map(([n, t]) => [n, t.shape]));
    expect(shapes[1]!.sort()).toEqual(shapes[0]!.sort());
    expect(shapes[2]!.sort()).toEqual(shapes[0]!.sort());
    // Multiples of 1/64 below 8 are the same in half.
    for (const t of readParams(base64(cases[3]!.params), 'p').values())
      for (const v of t.data) expect(v * 64).toBe(Math.round(v * 64));
  });
  it('say that images go in as they are where the network normalises them', async () => {
    expect(await read(first, 'm-symbol.json', [8, 8])).toMatchObject({
      preprocessing: { colourOrder: 'RGB', mean: 0, scale: 1, inputSize: [8, 8] },
      notes: [],
    });
    const bare = cases.find((c) => c.name.startsWith('Convolution'))!;
    const made = await read(bare);
    expect(made).not.toHaveProperty('preprocessing');
    expect(made.notes).toEqual([]);
  });
  it('divide by the temperature of a softmax', async () => {
    const nodes = [
      { op: 'null', name: 'data', inputs: [] },
      { op: 'softmax', name: 's', attrs: { axis: '1', temperature: '2' }, inputs: [[0, 0]] },
    ];
    const symbol = { nodes, heads: [[1, 0]] } as unknown as Case['symbol'];
    const file = await read({ ...first, symbol }, 'm-0000.params', [4, 4]);
    const made = file.kind === 'graph' ? file.graph.spec.nodes : [];
    expect(made.map((n) => [n.op, n.attrs.value])).toEqual([
      ['div', 2],
      ['softmax', undefined],
    ]);
  });
  it('give layers their names, and trained and fixed numbers their kind', async () => {
    const network = networkOfFile(await read(first, 'm-symbol.json', [8, 8]));
    const names = variablesOf(network).map((v) => v.name);
    expect(names).toContain('layers.stage1_unit1_conv1.weight');
    expect(names).toContain('layers.fc1.runningVar');
    // fix_gamma: there is no gamma to train.
    expect(names).not.toContain('layers.fc1.weight');
  });
});

/** A symbol of one changed node. */
const changed = (name: string, change: Record<string, unknown>): Case => ({
  ...first,
  symbol: {
    ...first.symbol,
    nodes: first.symbol.nodes.map((n) => (n.name === name ? { ...n, ...change } : n)),
  },
});

describe('what is wrong is named', () => {
  it.each([
    [changed('relu0', { op: 'ROIPooling' }), /^m-symbol\.json: expected known operators, got ROIPooling \(relu0\)\n/],
    [changed('conv0_weight', { name: 'w' }), /^m-symbol\.json: expected one input .*no array is there for data, w\n/],
    [
      changed('conv0', { attrs: { kernel: '(3, 3)', num_filter: '4', no_bias: 'maybe' } }),
      /^m-symbol\.json: conv0 \(Convolution\): expected no_bias to be True or False, got 'maybe'\n/,
    ],
    [
      changed('conv0', { attrs: { stride: '(2, 2, 2)', no_bias: 'True' } }),
      /^m-symbol\.json: conv0 \(Convolution\): expected stride to be two whole numbers, got '\(2, 2, 2\)'\n/,
    ],
    [
      changed('_plus1', { op: 'Concat', attrs: { dim: '7' } }),
      /^m-symbol\.json: _plus1 \(Concat\): expected an axis of 4, got 7\n/,
    ],
    [
      changed('relu0', { attrs: { act_type: 'swish' } }),
      /^m-symbol\.json: relu0 \(LeakyReLU\): expected act_type to be one of leaky, prelu/,
    ],
  ])('%#', async (c, message) => {
    await expect(read(c, 'm-0000.params', [8, 8])).rejects.toThrow(message);
    await expect(read(c, 'm-0000.params', [8, 8])).rejects.toThrow(DataError);
  });
  it('of another size of images', async () => {
    await expect(read(first, 'm-0000.params', [16, 8])).rejects.toThrow(
      /^m-symbol\.json: pre_fc1 \(FullyConnected\): /,
    );
  });
  it('where arrays are missing', async () => {
    await expect(
      mxnetFormat.read(sourceOf({ 'm-symbol.json': bytes(first.symbol) }, 'm-symbol.json'), {}),
    ).rejects.toThrow(
      /^m-symbol\.json: expected the network's arrays in m-0000\.params beside it, but there is none\n/,
    );
  });
  it('where arrays are sparse, unnamed or named twice', () => {
    const whole = base64(first.params);
    const sparse = whole.slice();
    sparse[28] = 1;
    expect(() => readParams(sparse, 'p')).toThrow(/^p: array 0 is row sparse, expected dense\n/);
    const { length } = whole;
    const names = whole.slice(0, length);
    const count = readParams(whole, 'p').size;
    const text = new TextDecoder('latin1').decode(whole);
    const at = text.indexOf('arg:conv0_weight') - 16;
    new DataView(names.buffer).setBigUint64(at, 0n, true);
    expect(() => readParams(names.subarray(0, at + 8), 'p')).toThrow(
      new RegExp(`^p: expected a name for each of ${count} arrays, got 0 \\(a bare list of arrays\\)\n`),
    );
    const twice = whole.slice();
    const second = text.indexOf('arg:stage1_unit1_conv2_weight');
    twice.set(new TextEncoder().encode('arg:stage1_unit1_conv1_weight'), second);
    expect(() => readParams(twice, 'p')).toThrow(/^p: two arrays are named 'stage1_unit1_conv1_weight'\n/);
  });
  it('in damaged files', async () => {
    const { 'm-symbol.json': symbol, 'm-0000.params': params } = files(first);
    const arrays = await fuzz((b) => readParams(b, 'p'), params, 'p', { flips: 200, numbers: 200 });
    expect(arrays.refused).toBeGreaterThan(100);
    const networks = await fuzz(
      async (b) =>
        networkOfFile(
          await mxnetFormat.read(sourceOf({ ...files(first), 'm-symbol.json': b }, 'm-symbol.json'), {
            inputSize: [8, 8],
          }),
        ),
      symbol,
      'm-symbol.json',
      { cuts: 40, flips: 250, numbers: 100 },
    );
    expect(networks.refused).toBeGreaterThan(100);
  });
});

describe.skipIf(!published)('insightface-y1', () => {
  const source = () => publishedSource('insightface-y1', 'model-0000.params');
  it('gives the golden embeddings, mirrored too', async () => {
    const network = networkOfFile(await mxnetFormat.read(source(), {}));
    const golden = goldenEmbeddings('insightface-y1');
    const device = await WasmDevice.create({ threads: 2 });
    expect(farthest(await embedGolden(network, device, 32), golden.all)).toBeLessThan(1e-4);
    expect(farthest(await embedGolden(network, device, 8, true), golden.mirrored)).toBeLessThan(1e-4);
    await device.dispose();
  });
});
