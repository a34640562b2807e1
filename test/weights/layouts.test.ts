/**
 * Published state dicts as networks: small ones under each project's names give what PyTorch gives, and states that are none
 * say so by name. What real ones give: test/evaluate/published.test.ts.
 */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { create } from '../../src/models/index.ts';
import type { FaceNetwork } from '../../src/models/network.ts';
import { initialize, parameterCount, variablesOf } from '../../src/nn/module.ts';
import { layouts, networkFromState } from '../../src/weights/layouts/index.ts';
import type { HostTensor } from '../../src/weights/safetensors.ts';
import { published } from '../helpers/published.ts';
import { drawnImages, drawnState, type LayoutCase, layoutCases, publishedNetwork, publishedStates } from './layouts.ts';

const pytorch = (tensors: ReadonlyMap<string, HostTensor>) => ({ tensors, convention: 'pytorch' as const });
const caseOf = (layout: string): LayoutCase => layoutCases.find((c) => c.layout === layout)!;

/** Embeddings of a case's images in float64, rounded to float32 once. */
async function embeddings(network: FaceNetwork, c: LayoutCase, device: Device = new ReferenceDevice()) {
  const { data, shape } = drawnImages(c);
  const f = compile(({ x }, ctx) => network.call(x!, ctx), { device });
  const { result } = await f({ x: host(data, shape) });
  f.dispose();
  return result!.data;
}
const far = (got: ArrayLike<number>, want: readonly number[]) =>
  Math.max(...want.map((v, i) => (Number.isNaN(got[i]!) ? Infinity : Math.abs(got[i]! - v))));
/** What float32 holds, and a share of what float32 arithmetic strays. */
const bound = ({ f64, drift }: LayoutCase) => 2 ** -20 * drift + 2 ** -23 * Math.max(...f64.map(Math.abs));

it('there is a case, or a published file, for every layout of recognition in PyTorch', () => {
  const tested = new Set([...layoutCases.map((c) => c.layout), ...publishedStates.map(([, , layout]) => layout)]);
  const mine = layouts.filter((l) => l.convention === 'pytorch' && l.name !== 'retinaface');
  expect(mine.map((l) => l.name).filter((n) => !tested.has(n))).toEqual([]);
});

describe.each(layoutCases.map((c, i) => [`${c.layout} ${JSON.stringify(c.expected)}`, c, i] as const))(
  '%s',
  (_, c, i) => {
    const used = c.tensors.filter(([, kind]) => kind !== 'unused');
    it('is recognised, loads whole and gives what PyTorch gives', async () => {
      const { network, report } = networkFromState(pytorch(drawnState(c)), {}, 'x.pt');
      expect(report).toMatchObject({ layout: c.layout, missing: [], unexpected: [], loaded: used.length });
      const { architecture, ...options } = c.expected;
      expect(network.architecture).toBe(architecture);
      expect(network.options).toMatchObject({ ...options, inputSize: c.size });
      expect(network.preprocessing.inputSize).toEqual(c.size);
      // Batch norm's statistics are state, and no parameters.
      const parameters = used.filter(([, kind]) => kind !== 'mean' && kind !== 'variance');
      expect(parameterCount(network)).toBe(parameters.reduce((n, [, , ...s]) => n + s.reduce((a, b) => a * b, 1), 0));
      expect(far(await embeddings(network, c), c.f64)).toBeLessThanOrEqual(bound(c));
    });
    it('every tensor counts', () => {
      const whole = drawnState(c);
      const before = variablesOf(networkFromState(pytorch(whole), {}, 'x.pt').network).map((v) => v.host);
      // One at a time, spread over the cases.
      const names = used.map(([name]) => name);
      for (const name of names.filter((_, k) => k % 41 === i)) {
        const state = new Map(whole);
        state.delete(name);
        // The last batch norm's weight and bias may be left out, as AdaFace does.
        if (/^output_layer\.4\.(weight|bias)$/.test(name)) continue;
        // Names that a layout goes by may make it another one.
        expect(() => networkFromState(pytorch(state), {}, 'x.pt'), name).toThrow(/^x\.pt: expected/);
        const moved = new Map(whole).set(name, { ...whole.get(name)!, data: whole.get(name)!.data.slice() });
        moved.get(name)!.data[0]! += 1;
        const written = variablesOf(networkFromState(pytorch(moved), {}, 'x.pt').network).map((v) => v.host);
        expect(written.filter((data, k) => data!.some((x, j) => x !== before[k]![j])).length, name).toBe(1);
      }
    });
  },
);

describe('around a state', () => {
  const c = caseOf('arcface-torch-iresnet');
  const name = 'x.pt';
  it('a prefix is taken away, and what is beside it is told', async () => {
    const state = new Map<string, HostTensor>([
      ['head.weight', { dtype: 'f32', shape: [9, 8], data: new Float32Array(72) }],
    ]);
    for (const [key, t] of drawnState(c)) state.set(`backbone.${key}`, t);
    const { network, report } = networkFromState(pytorch(state), {}, name);
    expect(report.notes).toEqual([
      "its network is under 'backbone.'",
      "left out: 1 tensors that are not under 'backbone.'",
    ]);
    expect(far(await embeddings(network, c), c.f64)).toBeLessThanOrEqual(bound(c));
  });
  it('one slope for all channels, half files and frozen weights are the same network', async () => {
    const state = drawnState(c);
    const slope = state.get('prelu.weight')!;
    const one = { ...slope, shape: [1], data: Float32Array.of(0.25) };
    const many = { ...slope, data: slope.data.slice().fill(0.25) };
    const of = async (t: HostTensor) =>
      embeddings(networkFromState(pytorch(new Map(state).set('prelu.weight', t)), {}, name).network, c);
    expect(await of(one)).toEqual(await of(many));
  });
  it('differences are listed by name, and nothing is loaded', () => {
    const state = drawnState(c);
    state.delete('layer2.0.bn2.bias');
    state.set('layer1.0.se.fc1.weight', { dtype: 'f32', shape: [4, 8, 1, 1], data: new Float32Array(32) });
    state.set('layer1.1.bn1.weight', { dtype: 'f32', shape: [9], data: new Float32Array(9) });
    expect(() => networkFromState(pytorch(state), {}, name)).toThrow(
      new RegExp(
        [
          /^x\.pt: expected the 156 tensors of arcface-torch-iresnet .*, but 1 are missing, 1 have another shape and 1 are not its$/,
          /^ {2}layer1\.1\.bn1\.weight: expected f32 \[8\], got f32 \[9\]$/,
          /^ {2}missing layer2\.0\.bn2\.bias$/,
          /^ {2}unexpected layer1\.0\.se\.fc1\.weight$/,
        ]
          .map((r) => r.source)
          .join('\\n'),
        'm',
      ),
    );
    const { network, report } = networkFromState(pytorch(state), { lenient: true }, name);
    expect(report).toMatchObject({
      missing: ['layer2.0.bn2.bias'],
      unexpected: ['layer1.0.se.fc1.weight'],
      notes: ['left out, of another shape: layer1.1.bn1.weight: expected f32 [8], got f32 [9]'],
      loaded: 154,
    });
    // What is missing is as in a new network.
    const values = new Map(variablesOf(network).map((v) => [v.name, v.host!]));
    expect(values.get('units.2.bn2.bias')!.every((x) => x === 0)).toBe(true);
    expect(values.get('units.1.bn1.weight')!.every((x) => x === 1)).toBe(true);
  });
  it('names that nobody has: the nearest layout, what it lacks and what it does not know', () => {
    const state = new Map([...drawnState(c)].map(([key, t]) => [key.replace(/^features/, 'bn3'), t] as const));
    expect(() => networkFromState(pytorch(state), {}, name)).toThrow(
      /^x\.pt: expected the names of a layout that is known here; nearest is arcface-torch-iresnet .*, which names \d+ of its 156 tensors\n {2}missing features\.running_mean\n {2}unexpected bn3\.weight\n/,
    );
    const strange = new Map([['a.b', { dtype: 'f32' as const, shape: [2], data: new Float32Array(2) }]]);
    expect(() => networkFromState(pytorch(strange), {}, name)).toThrow(
      /^x\.pt: expected the names .* got 1 tensors of none\n {2}a\.b \[2\]\n/,
    );
    expect(() => networkFromState(pytorch(new Map()), {}, name)).toThrow(/^x\.pt: expected tensors, got none/);
    expect(() => networkFromState(pytorch(drawnState(c)), { layout: 'arcface-torch-iresnet50' }, name)).toThrow(
      /Did you mean 'arcface-torch-iresnet'/,
    );
    expect(() => networkFromState({ tensors: drawnState(c), convention: 'keras' }, {}, name)).toThrow(
      /^x\.pt: expected/,
    );
  });
  it('a network named by the user, in order of definition', async () => {
    const given = caseOf('face-pytorch-mobilefacenet');
    const state = new Map(
      [...drawnState(given)].map(([key, t], i) => [`net.${i}.${key.split('.').at(-1)}`, t] as const),
    );
    const options = { width: 0.125, inputSize: given.size, embeddingSize: 8 };
    const { network, report } = networkFromState(pytorch(state), { architecture: 'mobilefacenet', options }, name);
    expect(report.layout).toBe('in order');
    expect(report.notes[0]).toMatch(/matched to mobilefacenet in the order of the file/);
    expect(far(await embeddings(network, given), given.f64)).toBeLessThanOrEqual(bound(given));
    // Weight and bias of a batch norm have one shape: the names tell them apart.
    const entries = [...state].filter(([key]) => !key.endsWith('tracked'));
    [entries[1], entries[2]] = [entries[2]!, entries[1]!];
    const swapped = () => networkFromState(pytorch(new Map(entries)), { architecture: 'mobilefacenet', options }, name);
    expect(swapped).toThrow(
      /^x\.pt: expected the tensors of mobilefacenet in order, but 2 are others\n {2}net\.\d+\.bias \[8\]: expected stem\.bn\.weight/,
    );
    expect(() => networkFromState(pytorch(state), { architecture: 'mobilefacenet' }, name)).toThrow(
      /^x\.pt: expected the tensors of mobilefacenet in order/,
    );
    expect(() => networkFromState(pytorch(state), { architecture: 'ir-18' }, name)).toThrow(
      /^x\.pt: expected the 1\d\d tensors of ir-18 in order, got 283/,
    );
  });
  it("facegrad's own names", () => {
    const network = initialize(create('mobilefacenet', { width: 0.125, inputSize: [32, 32] }), 3);
    const own = new Map(variablesOf(network).map((v) => [v.name, { dtype: v.dtype, shape: v.shape, data: v.host! }]));
    expect(() => networkFromState(pytorch(own), {}, name)).toThrow(/^x\.pt: expected weights that say what network/);
    const again = networkFromState(
      pytorch(own),
      { architecture: 'mobilefacenet', options: { width: 0.125, inputSize: [32, 32] } },
      name,
    );
    expect(again.report).toMatchObject({ layout: 'facegrad', missing: [], unexpected: [] });
    expect(variablesOf(again.network).map((v) => v.host)).toEqual(variablesOf(network).map((v) => v.host));
  });
  it('options of the user count over those read off', () => {
    const { network } = networkFromState(pytorch(drawnState(c)), { options: { dropout: 0 } }, name);
    expect(network.options).toMatchObject({ dropout: 0, depth: 18 });
    expect(() => networkFromState(pytorch(drawnState(c)), { options: { depth: 34 } }, name)).toThrow(
      /^x\.pt: expected the 276 tensors of arcface-torch-iresnet .*, but \d+ are missing/,
    );
  });
  it('shapes that ask for far more than the file holds are refused before anything is made', () => {
    for (const [layout, wide, shape] of [
      ['arcface-torch-iresnet', 'conv1.weight', [6400, 3, 1, 1]],
      ['face-pytorch-resnet', 'conv1.weight', [6400, 3, 1, 1]],
      ['face-pytorch-spherenet', 'layer1.0.weight', [6400, 3, 1, 1]],
      ['face-pytorch-mobilefacenet', 'blocks.0.conv.0.weight', [12800, 8, 1, 1]],
      ['arcface-torch-mbf', 'layers.2.layers.0.layers.0.weight', [12800, 16, 1, 1]],
    ] as const) {
      const state = drawnState(caseOf(layout));
      state.set(wide, {
        dtype: 'f32',
        shape: [...shape],
        data: new Float32Array(shape.reduce((a: number, b) => a * b, 1)),
      });
      const before = process.memoryUsage().rss;
      expect(() => networkFromState(pytorch(state), {}, name), layout).toThrow(/^x\.pt: expected/);
      expect(process.memoryUsage().rss - before, layout).toBeLessThan(100e6);
    }
  });
});

it("AdaFace's last batch norm has no weight and bias, its network a prefix, its head a name", async () => {
  const c = layoutCases.find((x) => x.layout === 'insightface-pytorch-ir' && x.expected.midBatchNorm)!;
  const state = new Map<string, HostTensor>();
  for (const [k, t] of drawnState(c)) if (!/^output_layer\.4\.(weight|bias)$/.test(k)) state.set(`model.${k}`, t);
  state.set('head.kernel', { dtype: 'f32', shape: [8, 3], data: new Float32Array(24) });
  const { network, report } = networkFromState(pytorch(state), {}, 'x.ckpt');
  expect(report).toMatchObject({ missing: [], unexpected: [], loaded: c.tensors.length - 2 });
  const whole = drawnState(c);
  whole.get('output_layer.4.weight')!.data.fill(1);
  whole.get('output_layer.4.bias')!.data.fill(0);
  const same = networkFromState(pytorch(whole), {}, 'x.pt').network;
  expect(await embeddings(network, c)).toEqual(await embeddings(same, c));
});

it('attention 56 and 92 are told apart by their modules', () => {
  const state = new Map(
    [...drawnState(caseOf('face-pytorch-attention'))].filter(([k]) => !/^attention_module\d_/.test(k)),
  );
  const { network, report } = networkFromState(pytorch(state), {}, 'x.pt');
  expect(network.options).toMatchObject({ depth: 56, channels: [256, 512, 512, 1024] });
  expect(report).toMatchObject({ missing: [], unexpected: [] });
});

it.runIf(published).each(publishedStates)('%s %s is told by its names', async (folder, file, layout, parameters) => {
  const { network, report, notes } = await publishedNetwork(folder, file);
  expect(report).toMatchObject({ layout, missing: [], unexpected: [] });
  expect(notes.includes('beside the weights: epoch = 68')).toBe(folder === 'xiaoccer');
  expect(parameterCount(network)).toBe(parameters);
  expect(network.preprocessing).toMatchObject(
    folder === 'xiaoccer'
      ? { colourOrder: 'RGB', mean: 127.5, scale: 1 / 128, inputSize: [112, 96] }
      : { colourOrder: 'RGB', mean: [123.675, 116.28, 103.53], inputSize: [112, 112] },
  );
});
