/**
 * The first 20 SGD steps of MobileFaceNet + ArcFace against PyTorch's, from the same weights on the same batch.
 * Goldens, how they were made and how far honest float32 runs stray: test/reference/trainingSteps.py.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, type Key, keyOf, normal, uniform } from '../../src/core/random.ts';
import { host, type Tensor, type Variable } from '../../src/core/tensor.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { grad } from '../../src/grad.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize, type Parameter, parametersOf, variablesOf } from '../../src/nn/module.ts';
import { sgd } from '../../src/optim/sgd.ts';

interface Summary {
  readonly f64: readonly number[];
  readonly drift: number;
}
interface Golden {
  readonly config: {
    readonly seed: number;
    readonly batch: number;
    readonly classes: number;
    readonly size: number;
    readonly steps: number;
    readonly s: number;
    readonly m: number;
    readonly lr: number;
    readonly decayBody: number;
    readonly decayTop: number;
  };
  readonly loss: { readonly f64: readonly number[]; readonly drift: readonly number[] };
  readonly step0: { readonly embedding: Summary; readonly gradients: Record<string, Summary> };
  readonly smooth: {
    readonly loss: { readonly f64: readonly number[]; readonly drift: readonly number[] };
    readonly embedding: Summary;
    readonly gradients: Record<string, Summary>;
  };
  readonly final: { readonly parameters: Record<string, Summary>; readonly running: Record<string, Summary> };
}
const golden: Golden = JSON.parse(readFileSync(new URL('../reference/trainingSteps.json', import.meta.url), 'utf8'));
const { config } = golden;
const key = keyOf(config.seed);
const names = (k: Key, ...parts: (string | number)[]) => parts.reduce<Key>(fold, k);

/** The batch of trainingSteps.py: noise over a coarse pattern of the class. */
function makeBatch() {
  const { batch, size, classes } = config;
  const labels = Int32Array.from(uniform(fold(key, 'labels'), batch), (u) => Math.floor(classes * u));
  const noise = uniform(fold(key, 'images'), batch * size * size * 3);
  const images = new Uint8Array(noise.length);
  labels.forEach((label, b) => {
    const pattern = uniform(names(key, 'classes', label), 7 * 7 * 3);
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++)
        for (let c = 0; c < 3; c++) {
          const i = ((b * size + y) * size + x) * 3 + c;
          images[i] = Math.floor(256 * (0.75 * pattern[((y >> 4) * 7 + (x >> 4)) * 3 + c]! + 0.25 * noise[i]!));
        }
  });
  return { images: host(images, [batch, size, size, 3]), labels: host(labels, [batch]) };
}

/** [norm, projection 0, projection 1] in f64, as the goldens have it. */
function summarise(name: string, data: ArrayLike<number>): number[] {
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, x, i) => s + x * b[i]!, 0);
  return [
    Math.sqrt(dot(data, data)),
    ...[0, 1].map((j) => dot(data, normal(names(key, 'projection', name, j), data.length))),
  ];
}

/** A tensor within `drift` of the truth has a norm within drift, and projections off by a normal variable of that deviation. */
function expectClose(name: string, data: ArrayLike<number>, { f64, drift: strayed }: Summary, floor = 0) {
  const drift = strayed + floor;
  const mine = summarise(name, data);
  expect(Math.abs(mine[0]! - f64[0]!), `${name}: norm ${mine[0]} for ${f64[0]}, drift ${drift}`).toBeLessThanOrEqual(
    3 * drift + 1e-9,
  );
  // Six deviations: one in 5e8 by chance.
  for (const j of [1, 2])
    expect(
      Math.abs(mine[j]! - f64[j]!),
      `${name}: projection ${mine[j]} for ${f64[j]}, drift ${drift}`,
    ).toBeLessThanOrEqual(6 * 3 * drift + 1e-9);
}

const decay = (p: Parameter) =>
  /\.(bn|prelu)\./.test(p.name)
    ? 0
    : /^(globalDepthwise|embedding|arcface)\./.test(p.name)
      ? config.decayTop
      : config.decayBody;

describe('MobileFaceNet + ArcFace against PyTorch', () => {
  let device: WasmDevice;
  const { images, labels } = makeBatch();
  const build = () => {
    const net = initialize(new MobileFaceNet(), config.seed);
    const head = initialize(new ArcFace({ classes: config.classes, s: config.s, m: config.m }), config.seed);
    const parameters = [...parametersOf(net), ...parametersOf(head)];
    const losses = (x: Tensor, y: Tensor, ctx: Parameters<MobileFaceNet['call']>[1]) => {
      const embedding = net.call(preprocess(x, net.preprocessing), ctx);
      return { embedding, loss: head.loss(embedding, y, ctx).loss };
    };
    return { net, head, parameters, losses };
  };
  beforeAll(async () => {
    device = await WasmDevice.create({ threads: 2 });
  });
  afterAll(() => device.dispose());

  const gradientsOf = async (slopes: number) => {
    const { parameters, losses } = build();
    for (const p of parameters) if (p.name.endsWith('prelu.weight')) p.write(new Float32Array(p.size).fill(slopes));
    const f = compile(
      ({ images: x, labels: y }, ctx) => {
        const { embedding, loss } = losses(x!, y!, ctx);
        const g = grad(loss, parameters);
        return { embedding, loss, ...Object.fromEntries(parameters.map((p, i) => [p.name, g[i]!])) };
      },
      { device, training: true },
    );
    const out = await f({ images, labels });
    f.dispose();
    return { out, parameters };
  };

  test('loss, embeddings and every gradient with all slopes 1, where float32 is well conditioned', async () => {
    const { out, parameters } = await gradientsOf(1);
    const { loss, embedding, gradients } = golden.smooth;
    expect(Math.abs(out.loss!.data[0]! - loss.f64[0]!)).toBeLessThanOrEqual(3 * loss.drift[0]! + 2e-6);
    expectClose('embedding', out.embedding!.data, embedding);
    for (const p of parameters) expectClose(p.name, out[p.name]!.data, gradients[p.name]!);
    expect(Object.keys(gradients).sort()).toEqual(parameters.map((p) => p.name).sort());
  });

  test('embeddings and gradients of the real network at the first step', async () => {
    const { out, parameters } = await gradientsOf(0.25);
    expectClose('embedding', out.embedding!.data, golden.step0.embedding);
    for (const p of parameters) expectClose(p.name, out[p.name]!.data, golden.step0.gradients[p.name]!);
  });

  test('20 steps: every loss, the weights and the running statistics', { timeout: 120_000 }, async () => {
    const { net, head, parameters, losses } = build();
    const optimizer = sgd(parameters, { momentum: 0.9, nesterov: true, decay });
    const step = compile(
      ({ images: x, labels: y, lr }, ctx) => {
        const { loss } = losses(x!, y!, ctx);
        optimizer.update(grad(loss, parameters), lr!, ctx);
        return { loss };
      },
      { device, training: true },
    );
    const gaps: string[] = [];
    for (let i = 0; i < config.steps; i++) {
      const loss = (await step({ images, labels, lr: config.lr })).loss!.data[0]!;
      const truth = golden.loss.f64[i]!;
      // 1e-3 relative, or three times what PyTorch's own float32 has strayed from its float64 by now.
      const strayed = Math.max(...golden.loss.drift.slice(0, i + 1));
      const bound = Math.max(1e-3 * truth, 3 * strayed);
      gaps.push(
        `${i}: ${loss} for ${truth}, gap ${Math.abs(loss - truth).toExponential(1)}, bound ${bound.toExponential(1)}`,
      );
      expect(Math.abs(loss - truth), gaps.join('\n')).toBeLessThanOrEqual(bound);
    }
    const all: Variable[] = [...variablesOf(net), ...variablesOf(head)];
    const byName = new Map(all.map((v) => [v.name, v]));
    for (const [name, summary] of Object.entries({ ...golden.final.parameters, ...golden.final.running })) {
      // PyTorch's buffer names.
      const v = byName.get(name.replace('running_mean', 'runningMean').replace('running_var', 'runningVar'));
      expect(v, name).toBeDefined();
      // A running mean that is 0 in truth is pure rounding: an ulp of the unit-sized activations per channel.
      expectClose(name, await v!.read(), summary, name.includes('running') ? 2 ** -23 * Math.sqrt(v!.size) : 0);
    }
  });
});
