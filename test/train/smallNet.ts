/** The small network of test/reference/smallNet.py and its runs here, on any device. */
import { readFileSync } from 'node:fs';
import { compile } from '../../src/compile.ts';
import { fold, type Key, keyOf, normal, uniform } from '../../src/core/random.ts';
import type { Shape } from '../../src/core/shape.ts';
import { host, type Tensor } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { grad } from '../../src/grad.ts';
import { createLoss } from '../../src/heads/index.ts';
import { BatchNorm, ConvBlock, Linear } from '../../src/nn/layers.ts';
import { initialize, Module, nameTree, type Parameter, parametersOf } from '../../src/nn/module.ts';
import { reshape } from '../../src/ops/movement.ts';
import { add, mul } from '../../src/ops/pointwise.ts';
import { createOptimizer } from '../../src/optim/index.ts';
import { keyData, type TraceContext } from '../../src/plan/trace.ts';

type Options = Readonly<Record<string, unknown>>;
export interface Golden {
  readonly name: string;
  readonly optimizer: { readonly name: string; readonly lr: number; readonly decay: number; readonly options: Options };
  readonly losses: readonly {
    readonly name: string;
    readonly options: Options;
    readonly weight: number;
    readonly rate: number;
    readonly classes: number;
  }[];
  /** Loss of every step. */
  readonly loss: readonly number[];
  /** How far float32 runs had strayed by steps 0, 10, … 90 and 99. */
  readonly drift: readonly number[];
}
export const file = JSON.parse(readFileSync(new URL('../reference/smallNet.json', import.meta.url), 'utf8')) as {
  readonly seed: number;
  readonly steps: number;
  readonly batch: number;
  readonly classes: number;
  readonly side: number;
  readonly embeddingSize: number;
  readonly cases: readonly Golden[];
};
const { steps, batch, classes, side, embeddingSize } = file;
const key = keyOf(file.seed);
const numbers = side * side * 3;
const drawn = (...by: (string | number)[]) => by.reduce<Key>(fold, key);

const patterns = Array.from({ length: classes }, (_, c) => normal(drawn('class', c), numbers));
const batches = Array.from({ length: steps }, (_, t) => {
  const labels = Int32Array.from(uniform(drawn('labels', t), batch), (u) => Math.floor(classes * u));
  const noise = normal(drawn('noise', t), batch * numbers);
  const images = noise.map((x, i) => patterns[labels[Math.floor(i / numbers)]!]![i % numbers]! + 2 * x);
  return {
    images: host(images, [batch, side, side, 3]),
    labels: host(labels, [batch]),
    key: host(keyData(drawn('draws'), t), [2]),
  };
});

class SmallNet extends Module {
  readonly stem = new ConvBlock(3, 8, { kernel: 3, stride: 2, padding: 1 });
  readonly depthwise = new ConvBlock(8, 8, { kernel: 3, padding: 1, groups: 8 });
  readonly linear = new Linear(128, embeddingSize, { bias: false });
  readonly bn = new BatchNorm(embeddingSize);
  protected forward(x: Tensor, ctx: TraceContext): Tensor {
    const y = this.depthwise.call(this.stem.call(x, ctx), ctx); // [N, 4, 4, 8]
    return this.bn.call(this.linear.call(reshape(y, [batch, 128]), ctx), ctx);
  }
}

/** Gives the parameters of two axes and more their numbers. */
function draw(parameters: readonly Parameter[], scaleOf: (shape: Shape) => number): void {
  for (const p of parameters)
    if (p.shape.length > 1) {
      const scale = scaleOf(p.shape);
      p.write(normal(drawn(p.name), p.size).map((x) => x * scale));
    }
}

/** The loss of the first `count` steps. */
export async function train(c: Golden, device: Device, count = steps): Promise<number[]> {
  const net = initialize(nameTree(new SmallNet()), 0);
  draw(parametersOf(net), (shape) => 1 / Math.sqrt(shape.slice(0, -1).reduce((a, b) => a * b)));
  const terms = c.losses.map((l) => {
    const loss = initialize(createLoss(l.name, { classes: l.classes, embeddingSize }, l.options), 0);
    draw(parametersOf(loss), () => 0.25);
    return { ...l, loss };
  });
  const parameters = [...parametersOf(net), ...terms.flatMap(({ loss }) => parametersOf(loss))];
  const rates = new Map(terms.flatMap(({ loss, rate }) => parametersOf(loss).map((p) => [p, rate] as const)));
  const optimizer = createOptimizer(c.optimizer.name, parameters, {
    ...c.optimizer.options,
    decay: (p) => (p.shape.length > 1 ? c.optimizer.decay : 0),
    rate: (p) => rates.get(p) ?? 1,
  });
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const embeddings = net.call(images!, ctx);
      const loss = terms
        .map(({ loss, weight }) => mul(loss.loss(embeddings, labels!, ctx).loss, weight))
        .reduce((a, b) => add(a, b));
      optimizer.update(grad(loss, parameters), lr!, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const out: number[] = [];
  for (const given of batches.slice(0, count)) out.push((await step({ ...given, lr: c.optimizer.lr })).loss!.data[0]!);
  step.dispose();
  return out;
}
