/**
 * What networks are held to on WebGPU: a training step's loss, gradients, moved state and update.
 *
 * The truth is the f64 reference. The yardstick is float32 itself: how far the reference with every operation rounded and
 * WASM stray. WebGPU may stray four times as far, as pytorch.ts lets WASM stray from PyTorch.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, uniform } from '../../src/core/random.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { grad } from '../../src/grad.ts';
import { createLoss } from '../../src/heads/index.ts';
import { graphNetwork } from '../../src/models/graph/network.ts';
import { traced } from '../../src/models/graph/traced.ts';
import { create } from '../../src/models/index.ts';
import { preprocess } from '../../src/models/network.ts';
import { initialize, Parameter, parametersOf, variablesOf } from '../../src/nn/module.ts';
import { add } from '../../src/ops/pointwise.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { keyData } from '../../src/plan/trace.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { wasm } from '../ops/harness.ts';

type Given = Readonly<Record<string, unknown>>;
/** A network, with options beside its least size, and the losses that are added up. */
export interface Case {
  readonly network: string;
  readonly options?: Given;
  readonly losses: readonly (readonly [string, Given?])[];
  /** The network as a graph, as it comes from an import. */
  readonly graph?: boolean;
}

const people = 9;
const labels = Int32Array.of(2, 7, 2, 0);

const parts = ['loss', 'gradients', 'state', 'parameters'] as const;
/** What a step gives: arrays in a fixed order. */
type Step = Readonly<Record<(typeof parts)[number], readonly ArrayLike<number>[]>>;

/** The first step, with momentum and decay; the same on any device but for rounding. */
async function stepOn(device: Device, { network, options, losses, graph = false }: Case): Promise<Step> {
  const made = initialize(create(network, { width: 0.125, inputSize: [16, 16], embeddingSize: 8, ...options }), 1);
  const net = graph ? graphNetwork(await traced(made)) : made;
  const size = { classes: people, embeddingSize: 8 };
  const heads = losses.map(([loss, given]) => initialize(createLoss(loss, size, given), 2));
  const variables = [net, ...heads].flatMap((m) => variablesOf(m));
  const parameters = [net, ...heads].flatMap((m) => parametersOf(m));
  const optimizer = sgd(parameters, { momentum: 0.9, nesterov: true, decay: () => 5e-4 });
  const f = compile(
    ({ images, labels: y, lr }, ctx) => {
      const embeddings = net.call(preprocess(images!, net.preprocessing), ctx);
      const loss = heads.map((h) => h.loss(embeddings, y!, ctx).loss).reduce((a, b) => add(a, b));
      const gradients = grad(loss, parameters);
      optimizer.update(gradients, lr!, ctx);
      return { loss, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) };
    },
    { device, training: true },
  );
  const shape = [labels.length, ...net.preprocessing.inputSize, 3];
  const pixels = uniform(
    fold(keyOf(7), 'images'),
    shape.reduce((a, b) => a * b),
  );
  const { loss, ...gradients } = await f({
    images: host(
      Uint8Array.from(pixels, (u) => 256 * u),
      shape,
    ),
    labels: host(labels, [labels.length]),
    lr: 0.1,
    key: host(keyData(keyOf(1), 1), [2], 'i32'),
  });
  const read = (which: boolean) =>
    Promise.all(variables.filter((v) => v instanceof Parameter === which).map((v) => v.read()));
  const [state, moved] = [await read(false), await read(true)];
  f.dispose();
  for (const v of [...variables, ...optimizer.state]) v.dispose();
  return { loss: [loss!.data], gradients: Object.values(gradients).map((g) => g.data), state, parameters: moved };
}

type Arrays = readonly ArrayLike<number>[];
const zeros = (like: Arrays): Arrays => like.map((x) => new Float32Array(x.length));
/** L2 norm of what a is away from b. */
const norm = (a: Arrays, b: Arrays): number =>
  Math.hypot(...a.map((x, k) => Math.hypot(...Array.from(x, (v, i) => v - b[k]![i]!))));

/** Tests of a training step of each case. */
export function heldOnWebGpu(cases: readonly Case[]): void {
  describe.runIf(runGpu)('a training step on WebGPU strays no further than float32 does', () => {
    let gpu: Device;
    let yardsticks: readonly Device[];
    beforeAll(async () => {
      gpu = await openGpuDevice();
      yardsticks = [new ReferenceDevice(Math.fround), await wasm.relaxed(1)];
    });
    afterAll(() => Promise.all([gpu, ...yardsticks].map((d) => d.dispose())));

    const named = cases.map(
      (c) =>
        [
          `${c.graph ? 'graph of ' : ''}${c.network} ${JSON.stringify(c.options ?? {})}, ${c.losses.map(([l]) => l).join(' + ')}`,
          c,
        ] as const,
    );
    it.each(named)('%s', async (_, c) => {
      const truth = await stepOn(new ReferenceDevice(), c);
      const plain: Step[] = [];
      for (const device of yardsticks) plain.push(await stepOn(device, c));
      const got = await stepOn(gpu, c);
      for (const part of parts) {
        const drift = Math.max(...plain.map((p) => norm(p[part], truth[part])));
        const size = norm(truth[part], zeros(truth[part]));
        expect(got[part].map((x) => x.length)).toEqual(truth[part].map((x) => x.length));
        expect(norm(got[part], truth[part]), part).toBeLessThanOrEqual(4 * drift + 2 ** -23 * size);
        // The yardstick must mean something.
        expect(drift, part).toBeLessThanOrEqual(0.01 * size);
      }
    });
  });
}
