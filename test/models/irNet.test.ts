/**
 * IR and SE-IR ResNets: counts as published implementations have them and as PyTorch counts them, numbers and gradients as
 * PyTorch's in float64 (test/reference/irNet.py), and what a user does with a network.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { architectures, create, describeNetwork, networkOf } from '../../src/models/index.ts';
import { IrNet, type IrNetOptions } from '../../src/models/irNet.ts';
import { summarize } from '../../src/models/summary.ts';
import { initialize, loadState, type Parameter, parametersOf, stateOf, variablesOf } from '../../src/nn/module.ts';
import { mul } from '../../src/ops/pointwise.ts';
import { sum } from '../../src/ops/reduce.ts';
import { keyData } from '../../src/plan/trace.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';

interface Golden {
  readonly seed: number;
  readonly counts: { readonly options: IrNetOptions; readonly parameters: number; readonly multiplyAdds: number }[];
  readonly runs: {
    readonly options: IrNetOptions;
    readonly trained: number[];
    readonly evaluated: number[];
    readonly gradients: Record<string, [number, number]>;
  }[];
}
const golden: Golden = JSON.parse(readFileSync(new URL('../reference/irNet.json', import.meta.url), 'utf8'));

const depths = [18, 34, 50, 74, 90, 100, 101, 152, 200];

let device: Device;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 1 });
});
afterAll(() => device.dispose());

describe('counts at 112x112', () => {
  /** Parameters and giga multiply-adds of the implementations in use, counted from their own code. */
  it.each<[string, IrNetOptions, number, number]>([
    ['ir-50', {}, 43_590_848, 6.309],
    ['ir-se-50', {}, 43_813_568, 6.31],
    ['ir-100', {}, 65_156_160, 12.09],
    ['ir-se-100', {}, 65_528_384, 12.09],
    ['ir-152', {}, 70_765_760, 12.321],
    ['ir-se-152', {}, 71_176_896, 12.321],
    ['ir-50', { midBatchNorm: false, shortcut: 'pool' }, 43_574_976, 6.296],
    ['ir-se-50', { midBatchNorm: false, shortcut: 'pool' }, 43_797_696, 6.297],
    ['ir-100', { midBatchNorm: false, shortcut: 'pool' }, 65_129_792, 12.077],
    ['ir-se-152', { midBatchNorm: false, shortcut: 'pool' }, 71_148_736, 12.308],
    ['ir-50', { shortcut: 'pool' }, 43_586_624, 6.296],
    ['ir', { attention: 'cam' }, 43_813_568, 6.31],
    ['ir', { attention: 'sam' }, 43_591_280, 6.31],
    ['ir', { attention: 'cbam' }, 43_814_000, 6.31],
  ])('%s %o: %i parameters, %f G', (name, options, parameters, giga) => {
    const s = summarize(create(name, { ...options }));
    expect(s.parameters).toBe(parameters);
    expect(Math.round(s.multiplyAdds / 1e6) / 1e3).toBe(giga);
  });
  it.each(golden.counts)('$options as PyTorch counts', ({ options, parameters, multiplyAdds }) => {
    const s = summarize(new IrNet(options));
    expect({ parameters: s.parameters, multiplyAdds: s.multiplyAdds }).toEqual({ parameters, multiplyAdds });
    expect(s.layers.reduce((n, l) => n + l.multiplyAdds, 0)).toBe(s.multiplyAdds);
  });
  it('are of every depth', () => {
    expect(new Set(golden.counts.map((c) => c.options.depth))).toEqual(new Set(depths));
  });
});

/** Parameters as irNet.py draws them. */
function draw(net: IrNet): IrNet {
  for (const p of parametersOf(net)) {
    const n = normal(fold(keyOf(golden.seed), p.name), p.size);
    const [a = 1, b = 1, , d = 1] = p.shape;
    const dense = Math.sqrt(2 / (p.shape.length === 4 ? a * b * d : a + b));
    const centre = p.name.endsWith('bias') ? 0 : p.name.includes('prelu') ? 0.25 : 1;
    p.write(Float32Array.from(n, (v) => (p.shape.length === 1 ? 0.2 * v + centre : v * dense)));
  }
  for (const v of variablesOf(net)) if (v.name.endsWith('runningVar')) v.write(new Float32Array(v.size).fill(1));
  return net;
}
const drawn = (name: string, n: number) => normal(fold(keyOf(golden.seed), name), n);
const images = host(drawn('images', 3 * 32 * 32 * 3), [3, 32, 32, 3]);

/** Embeddings y and the gradients of sum(r·y) in order of the parameters; training moves the running statistics. */
async function pass(net: IrNet, on: Device, training: boolean) {
  const d = net.options.embeddingSize;
  const parameters: Parameter[] = parametersOf(net);
  const f = compile(
    ({ x, r }, ctx) => {
      const y = net.call(x!, ctx);
      const gradients = grad(sum(mul(y, r!)), parameters);
      return { '': y, ...Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!])) };
    },
    { device: on, training },
  );
  const inputs = { x: images, r: host(drawn('r', 3 * d), [3, d]), ...(training && { key: keyOfStep(0) }) };
  const { '': y, ...gradients } = await f(inputs);
  f.dispose();
  return { y: y!.data, gradients: new Map(Object.entries(gradients).map(([name, g]) => [name, g.data])) };
}
const keyOfStep = (step: number) => host(keyData(keyOf(1), step), [2], 'i32');
const far = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]!)).map((e) => (Number.isNaN(e) ? Infinity : e)));

describe('numbers as PyTorch in float64', () => {
  it.each(golden.runs)('$options', async (run) => {
    const reference = new ReferenceDevice();
    const net = draw(new IrNet(run.options));
    const { y, gradients } = await pass(net, reference, true);
    expect(far(y, run.trained)).toBeLessThan(1e-6);
    expect([...gradients.keys()]).toEqual(expect.arrayContaining(Object.keys(run.gradients)));
    expect(gradients.size).toBe(Object.keys(run.gradients).length);
    for (const [name, g] of gradients) {
      const [norm, projection] = run.gradients[name]!;
      let squares = 0;
      let found = 0;
      g.forEach((v, i) => {
        squares += v * v;
        found += v * Math.cos(i);
      });
      // Outputs are rounded to float32.
      const most = 1e-6 * norm + 1e-8;
      expect(Math.abs(Math.sqrt(squares) - norm), name).toBeLessThan(most);
      expect(Math.abs(found - projection), name).toBeLessThan(most);
    }
    // With the statistics that the pass above moved.
    const evaluated = await pass(net, reference, false);
    expect(far(evaluated.y, run.evaluated)).toBeLessThan(1e-6 * Math.max(1, ...run.evaluated.map(Math.abs)));
    await reference.dispose();

    // WASM from the same start, within what float32 gives: a batch of three makes the last batch norm amplify.
    const again = draw(new IrNet(run.options));
    expect(far((await pass(again, device, true)).y, run.trained)).toBeLessThan(1e-3);
    const scale = Math.max(1, ...run.evaluated.map(Math.abs));
    expect(far((await pass(again, device, false)).y, run.evaluated)).toBeLessThan(1e-3 * scale);
  });
});

const small: IrNetOptions = { depth: 18, width: 0.25, inputSize: [32, 32], embeddingSize: 16 };

/**
 * A constant added to a channel that a later batch norm takes away again has no gradient in training: the biases before
 * the last batch norm, and those of unit and shortcut outputs, unless attention has scaled the map in between.
 */
const cancelled = (name: string, attention: string) =>
  /^output\.(bn|depthwise\.bn|fc)\.bias$|shortcut\.bn\.bias$/.test(name) ||
  (attention === 'none' && /bn3\.bias$/.test(name));

describe.each<IrNetOptions>([
  small,
  { ...small, attention: 'se', shortcut: 'pool' },
  { ...small, attention: 'cbam', output: 'GDC', midBatchNorm: false },
  { ...small, attention: 'cam', output: 'GAP' },
  { ...small, attention: 'sam', width: 0.125, inputSize: [48, 32] as const, dropout: 0.2 },
])('%o', (options) => {
  // With a seed at which no attention's few hidden ReLUs are 0 for every image.
  const make = () => initialize(new IrNet(options), 3);
  const [h, w] = options.inputSize!;
  const x = host(normal(keyOf(5), 4 * h * w * 3), [4, h, w, 3]);

  it('every parameter gets a gradient', async () => {
    for (const training of [true, false]) {
      const net = make();
      const parameters = parametersOf(net);
      const f = compile(
        ({ x: t, r }, ctx) => {
          const gradients = grad(sum(mul(net.call(t!, ctx), r!)), parameters);
          return Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!]));
        },
        { device, training },
      );
      const r = host(normal(keyOf(6), 4 * 16), [4, 16]);
      const out = await f({ x, r, ...(training && { key: keyOfStep(1) }) });
      f.dispose();
      expect(Object.keys(out).length).toBe(parameters.length);
      for (const [name, { data }] of Object.entries(out)) {
        const values = Array.from(data);
        const largest = values.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        expect(values.every(Number.isFinite), name).toBe(true);
        if (!training || !cancelled(name, net.options.attention)) expect(largest, name).toBeGreaterThan(1e-6);
      }
    }
  });

  it('is saved, loaded and evaluated to the same bits', async () => {
    const net = make();
    // One pass of training, so that the running statistics are not what a new network has.
    const train = compile(({ x: t }, ctx) => net.call(t!, ctx), { device, training: true });
    await train({ x, key: keyOfStep(2) });
    train.dispose();
    const bytes = writeSafetensors(await stateOf(variablesOf(net)), {
      format: 'facegrad',
      version: '1',
      ...describeNetwork(net),
    });
    const { tensors, metadata } = parseCheckpoint(bytes, 'file');
    const { network } = networkOf(metadata, 'file');
    expect(network.options).toEqual(net.options);
    loadState(variablesOf(network), tensors, 'file');
    const outputs = [];
    for (const n of [net, net, network]) {
      const f = compile(({ x: t }, ctx) => n.call(t!, ctx), { device });
      outputs.push((await f({ x })).result!);
      f.dispose();
    }
    expect(outputs[0]!.shape).toEqual([4, 16]);
    expect(new Set(outputs[0]!.data).size).toBeGreaterThan(60);
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
  });
});

it('dropout: in training, from the key; a training pass without one says so', async () => {
  const net = initialize(new IrNet(small), 1);
  const f = compile(({ x }, ctx) => net.call(x!, ctx), { device, training: true });
  const outputs = [];
  for (const step of [1, 1, 2]) outputs.push((await f({ x: images, key: keyOfStep(step) })).result!.data);
  expect(outputs[1]).toEqual(outputs[0]);
  expect(outputs[2]).not.toEqual(outputs[0]);
  await expect(f({ x: images })).rejects.toThrow(/dropout: expected a key while training/);
  f.dispose();
});

it('names in the registry stand for options', () => {
  for (const [name, options] of [
    ['ir', { depth: 50, attention: 'none' }],
    ['ir-18', { depth: 18, attention: 'none' }],
    ['IR-SE-34', { depth: 34, attention: 'se' }],
  ] as const) {
    const net = create(name, { width: 0.125 });
    expect(net.architecture).toBe('ir');
    expect(net.options).toMatchObject({ ...options, embeddingSize: 512, width: 0.125 });
  }
  expect(depths.every((d) => architectures.has(`ir-${d}`) && architectures.has(`ir-se-${d}`))).toBe(true);
});

it.each<[Record<string, unknown>, RegExp]>([
  [{ depth: 19 }, /^IrNet: expected a depth of 18, 34, .*, 200, got 19\n/],
  [{ depth: '50' }, /expected a depth/],
  [{ attention: 'constructor' }, /expected the attention none, se, cam, sam, cbam, got constructor/],
  [{ midBatchNorm: 'false' }, /expected midBatchNorm true, false/],
  [{ shortcut: 'identity' }, /expected the shortcut conv, pool/],
  [{ output: 'F' }, /expected the output E, GDC, GAP/],
  [{ dropout: 1 }, /Dropout: expected a rate in \[0, 1\), got 1/],
  [{ inputSize: [100, 112] }, /IrNet: expected an input size in multiples of 16, got 100x112/],
  [{ embeddingSize: 0.5 }, /IrNet: expected a whole embedding size/],
  [{ width: 0 }, /IrNet: expected a width above 0/],
])('refuses %o', (options, message) => {
  expect(() => create('ir', { depth: 18, ...options })).toThrow(message);
});
