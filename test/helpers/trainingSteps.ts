/**
 * Whole networks + ArcFace trained for some steps beside PyTorch: same numbers at first, same batches, same dropout, and then
 * every loss, gradients, how far the weights have gone and the running statistics. How the goldens are made, what is in
 * them, and how far honest float32 runs stray: test/reference/trainingSteps.py.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, type Key, keyOf, threefry, uniform } from '../../src/core/random.ts';
import { host, type Tensor, type Variable } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { create } from '../../src/models/index.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize, type Parameter, parametersOf, variablesOf } from '../../src/nn/module.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { keyData, type TraceContext } from '../../src/plan/trace.ts';

/** L2 norm, two projections, and how far float32 runs were from the tensor. */
type Summary = readonly [number, number, number, number];
/** What parameters whose names end so are set to. */
type Start = Readonly<Record<string, number>>;
interface Losses {
  readonly f64: readonly number[];
  readonly drift: readonly number[];
}
interface Golden {
  readonly config: {
    readonly network: { readonly name: string; readonly options: Readonly<Record<string, unknown>> };
    readonly seed: number;
    readonly classes: number;
    readonly steps: number;
    readonly batches: number;
    readonly batch: number;
    readonly size: number;
    readonly cell: number;
    readonly s: number;
    readonly m: number;
    readonly lr: number;
    readonly momentum: number;
    readonly decayBody: number;
    readonly decayTop: number;
    readonly start: Start;
    readonly smooth: Start;
  };
  readonly loss: Losses;
  readonly smoothLoss: Losses;
  readonly embedding: { readonly step0: Summary; readonly smooth: Summary };
  readonly parameters: Readonly<Record<string, Readonly<Record<'step0' | 'smooth' | 'moved', Summary>>>>;
  readonly running: Readonly<Record<string, Summary>>;
}
type Config = Golden['config'];

const folded = (seed: number, ...parts: (string | number)[]) => parts.reduce<Key>(fold, keyOf(seed));

/** Batch k: noise over a coarse pattern of the class. */
function makeBatch({ seed, batch, size, cell, classes }: Config, k: number) {
  const cells = size / cell;
  const labels = Int32Array.from(uniform(folded(seed, 'labels', k), batch), (u) => Math.floor(classes * u));
  const noise = uniform(folded(seed, 'images', k), batch * size * size * 3);
  const images = new Uint8Array(noise.length);
  labels.forEach((label, b) => {
    const pattern = uniform(folded(seed, 'classes', label), cells * cells * 3);
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++)
        for (let c = 0; c < 3; c++) {
          const i = ((b * size + y) * size + x) * 3 + c;
          const coarse = pattern[(Math.floor(y / cell) * cells + Math.floor(x / cell)) * 3 + c]!;
          images[i] = Math.floor(256 * (0.75 * coarse + 0.25 * noise[i]!));
        }
  });
  return { images: host(images, [batch, size, size, 3]), labels: host(labels, [batch]) };
}

/** [norm, projection 0, projection 1] in f64. */
function summarise(key: Key, data: ArrayLike<number>): [number, number, number] {
  let squares = 0;
  let first = 0;
  let second = 0;
  for (let start = 0; start < data.length; start += 32) {
    let [a, b] = threefry(key, start / 32, 0);
    const end = Math.min(data.length, start + 32);
    for (let i = start; i < end; i++, a >>>= 1, b >>>= 1) {
      const v = data[i]!;
      squares += v * v;
      first += a & 1 ? -v : v;
      second += b & 1 ? -v : v;
    }
  }
  return [Math.sqrt(squares), first, second];
}

/** The tests of one case. */
export function sameTrainingAsPyTorch(name: string): void {
  const file = new URL(`../reference/trainingSteps/${name}.json`, import.meta.url);
  const golden: Golden = JSON.parse(readFileSync(file, 'utf8'));
  const { config } = golden;

  /**
   * A tensor within `drift` of the truth has a norm within drift, and projections off by a normal variable of that deviation:
   * six are one in 5e8 by chance. Three times PyTorch's own drift is let pass, and the golden's nine digits.
   */
  function expectClose(name: string, data: ArrayLike<number>, [norm, ...rest]: Summary, floor = 0) {
    const drift = rest[2]! + floor;
    const mine = summarise(folded(config.seed, 'signs', name), data);
    [norm, rest[0]!, rest[1]!].forEach((truth, j) => {
      const what = j ? `projection ${j - 1}` : 'norm';
      const bound = (j ? 6 : 1) * 3 * drift + 1e-8 * norm + 1e-12;
      expect(
        Math.abs(mine[j]! - truth),
        `${name}: ${what} ${mine[j]} for ${truth}, drift ${drift}`,
      ).toBeLessThanOrEqual(bound);
    });
  }

  describe(`${name}: ArcFace on ${config.network.name} as in PyTorch`, () => {
    let device: WasmDevice;
    const batches = Array.from({ length: config.batches }, (_, k) => makeBatch(config, k));
    beforeAll(async () => {
      device = await WasmDevice.create({ threads: 2 });
    });
    afterAll(() => device.dispose());

    const build = (...starts: Start[]) => {
      const { network, size, seed, classes, s, m } = config;
      const net = initialize(create(network.name, { ...network.options, inputSize: [size, size] }), seed);
      const { embeddingSize } = net.options;
      const head = initialize(new ArcFace({ classes, embeddingSize, s, m }), seed);
      const parameters = [...parametersOf(net), ...parametersOf(head)];
      for (const [ending, value] of starts.flatMap((start) => Object.entries(start)))
        for (const p of parameters.filter((p) => p.name.endsWith(ending)))
          p.write(new Float32Array(p.size).fill(value));
      const forward = (images: Tensor, labels: Tensor, ctx: TraceContext) => {
        const embedding = net.call(preprocess(images, net.preprocessing), ctx);
        return { embedding, loss: head.loss(embedding, labels, ctx).loss };
      };
      const variables: Variable[] = [...variablesOf(net), ...variablesOf(head)];
      return { parameters, variables, forward };
    };
    const keyOfStep = (step: number) => host(keyData(folded(config.seed, 'dropout'), step), [2], 'i32');

    /** Loss, embeddings and every gradient of the first batch. */
    const first = async (kind: 'step0' | 'smooth', ...starts: Start[]) => {
      const { parameters, forward } = build(...starts);
      const f = compile(
        ({ images, labels }, ctx) => {
          const { embedding, loss } = forward(images!, labels!, ctx);
          const gradients = grad(loss, parameters);
          return { loss, embedding, ...Object.fromEntries(parameters.map((p, i) => [p.name, gradients[i]!])) };
        },
        { device, training: true },
      );
      const out = await f({ ...batches[0]!, key: keyOfStep(0) });
      f.dispose();
      expectClose('embedding', out.embedding!.data, golden.embedding[kind]);
      expect(Object.keys(golden.parameters).sort()).toEqual(parameters.map((p) => p.name).sort());
      for (const p of parameters) expectClose(p.name, out[p.name]!.data, golden.parameters[p.name]![kind]);
      return out.loss!.data[0]!;
    };

    it('loss, embeddings and every gradient without kinks, where float32 is well conditioned', async () => {
      const loss = await first('smooth', config.start, config.smooth);
      const { f64, drift } = golden.smoothLoss;
      // The loss is a float32 number itself: an ulp of it.
      expect(Math.abs(loss - f64[0]!)).toBeLessThanOrEqual(3 * drift[0]! + 2 ** -23 * f64[0]!);
    });

    it('embeddings and every gradient of the real network at the first step', async () => {
      await first('step0', config.start);
    });

    it(`${config.steps} steps: every loss, how far the weights went, the running statistics`, async () => {
      const { parameters, variables, forward } = build(config.start);
      const { momentum, lr, decayBody, decayTop } = config;
      const decay = (p: Parameter) => (p.shape.length === 1 ? 0 : p.name.startsWith('arcface') ? decayTop : decayBody);
      const optimizer = sgd(parameters, { momentum, nesterov: true, decay });
      const began = new Map<Variable, Float32Array>();
      for (const p of parameters) began.set(p, Float32Array.from(await p.read()));
      const step = compile(
        ({ images, labels, lr: rate }, ctx) => {
          const { loss } = forward(images!, labels!, ctx);
          optimizer.update(grad(loss, parameters), rate!, ctx);
          return { loss };
        },
        { device, training: true },
      );
      const gaps: string[] = [];
      for (let i = 0; i < config.steps; i++) {
        const out = await step({ ...batches[i % config.batches]!, lr, key: keyOfStep(i) });
        const loss = out.loss!.data[0]!;
        const truth = golden.loss.f64[i]!;
        // 1e-3 relative, or three times what PyTorch's own float32 has strayed from its float64 by now.
        const strayed = Math.max(...golden.loss.drift.slice(0, i + 1));
        const bound = Math.max(1e-3 * truth, 3 * strayed);
        const gap = Math.abs(loss - truth);
        gaps.push(`${i}: ${loss} for ${truth}, gap ${gap.toExponential(1)}, bound ${bound.toExponential(1)}`);
        expect(gap, gaps.join('\n')).toBeLessThanOrEqual(bound);
      }
      step.dispose();
      const byName = new Map(variables.map((v) => [v.name, v]));
      for (const [name, { moved }] of Object.entries(golden.parameters)) {
        const p = byName.get(name)!;
        const from = began.get(p)!;
        const way = Float64Array.from(await p.read(), (v, i) => v - from[i]!);
        expectClose(name, way, moved);
      }
      for (const [name, summary] of Object.entries(golden.running)) {
        // PyTorch's buffer names.
        const v = byName.get(name.replace('running_mean', 'runningMean').replace('running_var', 'runningVar'));
        expect(v, name).toBeDefined();
        // A running mean that is 0 in truth is pure rounding: an ulp of the unit-sized activations per channel.
        expectClose(name, await v!.read(), summary, 2 ** -23 * Math.sqrt(v!.size));
      }
    });
  });
}
