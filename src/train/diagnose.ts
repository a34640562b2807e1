/**
 * Finding what went bad when a loss or gradient is not finite.
 *
 * The one idea: the step that failed changed nothing, so the same batch can be run again on the same numbers with every
 * module's output looked at: weights first, then outputs in forward order, then gradients in backward order. The first
 * that is not finite is the culprit.
 */
import { compile } from '../compile.ts';
import { NumericsError } from '../core/errors.ts';
import type { Tensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import * as E from '../expr/nodes.ts';
import { preprocess } from '../models/network.ts';
import { ConvBlock } from '../nn/layers.ts';
import { modulesOf } from '../nn/module.ts';
import { elementwise } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import { TraceContext } from '../plan/trace.ts';
import { withCalls } from './hooks.ts';
import type { Recipe } from './recipe.ts';
import { lossAndGradients, type StepResult, type Trainable } from './step.ts';

/** Finite exactly where all of x is: magnitudes are scaled down, so that large finite ones do not add up to infinity. */
const probe = (x: Tensor): Tensor => sum(elementwise('probe', E.mul(E.abs(E.input(0)), 2 ** -40), [x]));

const moduleOf = (name: string): string => name.replace(/\.(conv|bn|prelu)\.[^.]*$|\.[^.]*$/, '');

/**
 * The error to stop with: names the first module whose weights, output or gradient is not finite.
 * @param step number of the step, from 1
 */
export async function diagnose(
  t: Trainable,
  recipe: Recipe,
  device: Device,
  images: Uint8Array,
  labels: Int32Array,
  step: number,
  result: StepResult,
): Promise<NumericsError> {
  const { network, head, optimizer } = t;
  const [h, w] = recipe.inputSize;
  const say = (what: string) =>
    new NumericsError(
      `train: step ${step}: expected a finite loss and gradient, got loss ${result.loss} and gradient norm ${result.gradNorm}\n` +
        `  first not finite: ${what}\n` +
        'The step was not applied and the last checkpoint is kept. Lower --lr, lengthen --warmupSteps, or look at the pictures of this batch.',
    );
  for (const v of t.variables)
    if (!(await v.read()).every(Number.isFinite)) return say(`the weights '${v.name}' of module ${moduleOf(v.name)}`);

  const outputs = compile(
    ({ images: x, labels: y }) => {
      const ctx = new TraceContext(true); // its assignments are dropped
      const seen: [string, Tensor][] = [];
      const embeddings = withCalls(
        modulesOf(network).filter((m) => m instanceof ConvBlock),
        (m, call) => (input, c) => {
          const out = call(input, c);
          seen.push([m.path, out]);
          return out;
        },
        () => network.call(preprocess(x!, network.preprocessing), ctx),
      );
      const { loss } = head.loss(embeddings, y!);
      return Object.fromEntries([...seen.map(([path, out]) => [path, probe(out)]), ['arcface', probe(loss)]]);
    },
    { device, training: true },
  );
  const gradients = compile(
    ({ images: x, labels: y }) => {
      const g = lossAndGradients(t, recipe, x!, y!, new TraceContext(true)).gradients;
      return Object.fromEntries(optimizer.parameters.map((p, i) => [p.name, probe(g[i]!)]));
    },
    { device, training: true },
  );
  const batch = labels.length;
  const part = batch / recipe.accumulate;
  const inputs = (from: number, n: number) => ({
    images: { data: images.slice(from * h * w * 3, (from + n) * h * w * 3), shape: [n, h, w, 3], dtype: 'u8' as const },
    labels: { data: labels.slice(from, from + n), shape: [n], dtype: 'i32' as const },
  });
  try {
    for (let i = 0; i < recipe.accumulate; i++) {
      const found = await outputs(inputs(i * part, part));
      for (const [path, x] of Object.entries(found))
        if (!Number.isFinite(x.data[0])) return say(`the output of module ${path}`);
    }
    const found = await gradients(inputs(0, batch));
    for (const [name, x] of Object.entries(found).reverse())
      if (!Number.isFinite(x.data[0])) return say(`the gradient of '${name}' in module ${moduleOf(name)}`);
    return say('nothing by itself: the squares of the gradients overflow float32');
  } finally {
    outputs.dispose();
    gradients.dispose();
  }
}
