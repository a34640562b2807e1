/** Quantised graphs: what they compute to the bit, and how far it is from float32. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, uniform } from '../../src/core/random.ts';
import { type HostTensor, host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { GraphBuilder, type Value } from '../../src/models/graph/builder.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import type { Graph } from '../../src/models/graph/spec.ts';
import { defaultPreprocessing } from '../../src/models/network.ts';
import { calibrate } from '../../src/quant/calibrate.ts';
import { Int8Network } from '../../src/quant/network.ts';
import { type Int8Model, levelsOf, quantize } from '../../src/quant/quantize.ts';
import { stepsOf } from '../../src/quant/steps.ts';

const devices: Record<string, Device> = {};
beforeAll(async () => {
  devices.one = await WasmDevice.create({ threads: 1 });
  devices.two = await WasmDevice.create({ threads: 2 });
  devices.strict = await WasmDevice.create({ threads: 1, relaxed: false, shared: false });
  // Every operation rounded to float32: what the kernels do.
  devices.reference = new ReferenceDevice(Math.fround);
});
afterAll(async () => {
  for (const d of Object.values(devices)) await d.dispose();
});

let drawn = 0;
const draw = (shape: readonly number[], size = 0.5) => {
  const n = shape.reduce((a, b) => a * b, 1);
  return host(
    uniform(fold(keyOf(9), `t${drawn++}`), n).map((u) => size * (2 * u - 1)),
    shape,
  );
};
const conv = (b: GraphBuilder, x: Value, k: number, out: number, more: object = {}, groups = 1) => {
  const c = x.shape[3]!;
  const weight = draw([k, k, c / groups, out], 1.5 / Math.sqrt((k * k * c) / groups));
  return b.conv2d(x, { weight, bias: draw([out], 0.2), groups, padding: (k - 1) / 2, ...more });
};

/** A bottleneck network with a shortcut, and what is not quantised: a gate of channels. */
function faceGraph(): Graph {
  drawn = 0;
  const b = new GraphBuilder();
  const x = b.input('image', [16, 16, 3]);
  let y = b.prelu(conv(b, x, 3, 12, { stride: 2 }), draw([12], 0.5));
  const before = y;
  y = b.apply('relu6', [conv(b, y, 1, 20)]);
  y = b.apply('leakyRelu', [conv(b, y, 3, 20, {}, 20)], { slope: 0.1 });
  y = b.apply('add', [conv(b, y, 1, 12), before], {});
  const gate = b.apply('sigmoid', [conv(b, b.apply('reduce', [y], { kind: 'mean', axes: [1, 2], keep: true }), 1, 12)]);
  y = b.apply('mul', [y, gate]);
  y = b.apply('relu', [conv(b, y, 3, 17)]);
  y = b.apply('hardSwish', [conv(b, y, 1, 24, { stride: 2 })]);
  y = conv(b, y, 4, 24, { padding: 0 }, 24);
  const flat = b.reshape(y, [1, 24]);
  return b.finish({ embedding: b.linear(flat, { weight: draw([24, 10]), bias: draw([10]) }) });
}
const images = (n: number, seed: string): HostTensor =>
  host(
    uniform(fold(keyOf(4), seed), n * 16 * 16 * 3).map((u) => 2 * u - 1),
    [n, 16, 16, 3],
  );

let graph: Graph;
let model: Int8Model;
beforeAll(async () => {
  graph = faceGraph();
  model = quantize(graph, await calibrate(graph, [images(6, 'a'), images(6, 'b')], { device: devices.one! }));
});

async function outputOf(m: Int8Model, device: Device, x: HostTensor): Promise<Float32Array> {
  const network = new Int8Network(m, defaultPreprocessing);
  const run = compile(({ x }, ctx) => ({ y: network.call(x!, ctx) }), { device });
  try {
    return (await run({ x })).y!.data as Float32Array;
  } finally {
    run.dispose();
  }
}

describe('a quantised graph', () => {
  it('fuses sums and activations behind its convolutions', () => {
    const steps = stepsOf(model);
    const int8 = steps.filter((s) => s.kind === 'int8');
    expect(int8.map((s) => [s.node.path, s.residual ?? '', s.activation?.node.op ?? '', s.stored])).toEqual([
      ['conv', '', 'prelu', true],
      ['conv_1', '', 'relu6', true],
      ['conv_2', '', 'leakyRelu', true],
      ['conv_3', 'prelu', '', false],
      ['conv_4', '', '', false],
      ['conv_5', '', 'relu', true],
      ['conv_6', '', '', false],
      ['conv_7', '', '', false],
      ['linear', '', '', false],
    ]);
    expect(steps.flatMap((s) => (s.kind === 'float' ? [s.node.op] : []))).toEqual([
      'reduce',
      'sigmoid',
      'mul',
      'hardSwish',
      'reshape',
    ]);
  });

  it('gives the same bits on every device, whatever the batch', async () => {
    const x = images(5, 'c');
    const expected = await outputOf(model, devices.reference!, x);
    expect(new Set(expected).size).toBeGreaterThan(40);
    for (const name of ['one', 'two', 'strict']) {
      expect(await outputOf(model, devices[name]!, x), name).toEqual(expected);
      const single = host(x.data.slice(2 * 768, 3 * 768), [1, 16, 16, 3]);
      expect(await outputOf(model, devices[name]!, single), name).toEqual(expected.slice(20, 30));
    }
  });

  it('is near the float32 network', async () => {
    const x = images(8, 'd');
    const network = graphNetwork(graph);
    const run = compile(({ x }, ctx) => ({ y: network.call(x!, ctx) }), { device: devices.one! });
    const f = (await run({ x })).y!.data;
    run.dispose();
    const q = await outputOf(model, devices.one!, x);
    for (let i = 0; i < 8; i++) {
      let [dot, ff, qq] = [0, 0, 0];
      for (let k = 10 * i; k < 10 * i + 10; k++) {
        dot += f[k]! * q[k]!;
        ff += f[k]! ** 2;
        qq += q[k]! ** 2;
      }
      expect(dot / Math.sqrt(ff * qq)).toBeGreaterThan(0.99);
    }
  });

  it('leaves nodes as they are where told to', async () => {
    const ranges = await calibrate(graph, [images(6, 'a')], { device: devices.one! });
    const all = graph.spec.nodes.map((n) => n.path);
    const kept = quantize(graph, ranges, { keep: all });
    expect(kept.quantised.size).toBe(0);
    const x = images(2, 'e');
    const network = graphNetwork(graph);
    const run = compile(({ x }, ctx) => ({ y: network.call(x!, ctx) }), { device: devices.one! });
    expect(await outputOf(kept, devices.one!, x)).toEqual((await run({ x })).y!.data);
    run.dispose();
    expect(() => quantize(graph, ranges, { keep: ['conv_99'] })).toThrow("got 'conv_99'");
    expect(() => quantize(graph, new Map())).toThrow("expected a range of 'image'");
  });

  it('cannot be trained', async () => {
    const network = new Int8Network(model, defaultPreprocessing);
    const run = compile(({ x }, ctx) => ({ y: network.call(x!, ctx) }), { device: devices.one!, training: true });
    await expect(run({ x: images(1, 'a') })).rejects.toThrow('got training');
  });
});

/** The integers of a chain of two convolutions, with nothing of the project but the levels of its values. */
describe('a small graph', () => {
  it('is the integer arithmetic that is written down', async () => {
    drawn = 100;
    const b = new GraphBuilder();
    const [w1, b1, slope, w2] = [draw([3, 3, 3, 5]), draw([5]), draw([5]), draw([1, 1, 5, 4])];
    const x = b.input('image', [6, 7, 3]);
    const y = b.prelu(b.conv2d(x, { weight: w1, bias: b1, padding: 1 }), slope);
    const small = b.finish({ out: b.conv2d(y, { weight: w2 }) });
    const pixels = draw([2, 6, 7, 3], 1);
    const ranges = await calibrate(small, [pixels], { device: devices.one! });
    const f = Math.fround;
    const [lx, ly] = ['image', 'prelu'].map((v) => levelsOf(ranges.get(v)!)) as [
      ReturnType<typeof levelsOf>,
      ReturnType<typeof levelsOf>,
    ];
    const even = (v: number) => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
    const clip = (v: number) => Math.min(255, Math.max(0, v));
    const weights = (w: HostTensor, bias: ArrayLike<number> | undefined, input: number) => {
      const out = w.shape[3]!;
      const scale = Array.from({ length: out }, (_, o) =>
        f(Math.max(...w.data.filter((_, i) => i % out === o).map(Math.abs)) / 127),
      );
      return {
        scale,
        q: Array.from(w.data, (v, i) => Math.round(v / scale[i % out]!)),
        bias: scale.map((s, o) => Math.round((bias?.[o] ?? 0) / (input * s))),
      };
    };
    const first = weights(w1, b1.data, lx.scale);
    const second = weights(w2, undefined, ly.scale);
    const expected: number[] = [];
    const q = Array.from(pixels.data, (v) => clip(even(f(v * f(1 / lx.scale))) + lx.zero) - lx.zero);
    for (let n = 0; n < 2; n++)
      for (let i = 0; i < 6; i++)
        for (let j = 0; j < 7; j++) {
          const middle = first.scale.map((scale, o) => {
            let sum = first.bias[o]!;
            for (let r = -1; r < 2; r++)
              for (let s = -1; s < 2; s++)
                for (let c = 0; c < 3; c++)
                  if (i + r >= 0 && i + r < 6 && j + s >= 0 && j + s < 7)
                    sum +=
                      q[((n * 6 + i + r) * 7 + j + s) * 3 + c]! * first.q[(((r + 1) * 3 + s + 1) * 3 + c) * 5 + o]!;
            let t = f(f(sum) * f((scale * lx.scale) / ly.scale));
            if (t < 0) t = f(t * slope.data[o]!);
            return clip(even(t) + ly.zero) - ly.zero;
          });
          second.scale.forEach((scale, o) => {
            const sum = middle.reduce((a, m, c) => a + m * second.q[c * 4 + o]!, second.bias[o]!);
            expected.push(f(f(sum) * f(scale * ly.scale)));
          });
        }
    expect([...(await outputOf(quantize(small, ranges), devices.two!, pixels))]).toEqual(expected);
  });
});
