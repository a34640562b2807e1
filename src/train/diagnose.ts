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
import { withCalls } from '../nn/hooks.ts';
import { modulesOf, Parameter } from '../nn/module.ts';
import { add, elementwise } from '../ops/pointwise.ts';
import { sum } from '../ops/reduce.ts';
import { TraceContext } from '../plan/trace.ts';
import type { Recipe } from './recipe.ts';
import { lossAndGradients, type StepResult, stepKeys } from './step.ts';
import type { Trainable } from './trainable.ts';

/** Finite exactly where all of x is: magnitudes are scaled down, so that large finite ones do not add up to infinity. */
const probe = (x: Tensor): Tensor => sum(elementwise('probe', E.mul(E.abs(E.input(0)), 2 ** -40), [x]));

const moduleOf = (name: string): string => name.replace(/\.(conv|bn|prelu)\.[^.]*$|\.[^.]*$/, '');
/** A module's path as `moduleOf` names it: of a unit of convolution, norm and activation the unit's. */
const unitOf = (path: string): string => moduleOf(`${path}.weight`);

/**
 * The error to stop with: names the first module whose weights, output or gradient is not finite.
 * @param step number of the step, from 1
 * @param frozen parameters that the step does not train
 */
export async function diagnose(
  t: Trainable,
  recipe: Recipe,
  device: Device,
  images: Uint8Array,
  labels: Int32Array,
  step: number,
  result: StepResult,
  frozen: ReadonlySet<Parameter> = new Set(),
): Promise<NumericsError> {
  const { network, head, terms, optimizer } = t;
  const [h, w] = network.preprocessing.inputSize;
  const say = (what: string) =>
    new NumericsError(
      `train: step ${step}: expected a finite loss and gradient, got loss ${result.loss} and gradient norm ${result.gradNorm}\n` +
        `  first not finite: ${what}\n` +
        'The step was not applied and the last checkpoint is kept. Lower --lr, lengthen --warmupSteps, or look at the pictures of this batch.',
    );
  for (const v of t.variables)
    if (!(await v.read()).every(Number.isFinite)) return say(`the weights '${v.name}' of module ${moduleOf(v.name)}`);

  const outputs = compile(
    ({ images: x, labels: y, key }) => {
      const ctx = new TraceContext(true, key); // its assignments are dropped
      const seen: [string, Tensor][] = [];
      const embeddings = withCalls(
        modulesOf(network).filter((m) => Object.values(m).some((p) => p instanceof Parameter)),
        (m, call) => (input, c) => {
          const out = call(input, c);
          seen.push([unitOf(m.path), out]);
          return out;
        },
        () => network.call(preprocess(x!, network.preprocessing), ctx),
      );
      const losses = [
        [recipe.head.name, head.loss(embeddings, y!, ctx).loss],
        ...terms.map(({ name, loss }) => [name, loss.loss(embeddings, y!, ctx).loss] as const),
      ] as const;
      // Several modules of a unit share its name; one that is not finite makes all not finite.
      const units = new Map<string, Tensor>();
      for (const [path, out] of [...seen, ...losses]) {
        const before = units.get(path);
        units.set(path, before ? add(before, probe(out)) : probe(out));
      }
      return Object.fromEntries(units);
    },
    { device, training: true },
  );
  const gradients = compile(
    ({ images: x, labels: y, keys }) => {
      const g = lossAndGradients(t, recipe, x!, y!, new TraceContext(true), {
        keys: keys!,
        frozen,
      }).gradients;
      return Object.fromEntries(optimizer.parameters.flatMap((p, i) => (g[i] ? [[p.name, probe(g[i])]] : [])));
    },
    { device, training: true },
  );
  const batch = labels.length;
  const part = batch / recipe.accumulate;
  const keys = stepKeys(recipe, step - 1);
  const inputs = (from: number, n: number) => ({
    images: { data: images.slice(from * h * w * 3, (from + n) * h * w * 3), shape: [n, h, w, 3], dtype: 'u8' as const },
    labels: { data: labels.slice(from, from + n), shape: [n], dtype: 'i32' as const },
  });
  try {
    for (let i = 0; i < recipe.accumulate; i++) {
      const found = await outputs({
        ...inputs(i * part, part),
        key: { data: keys.slice(2 * i, 2 * i + 2), shape: [2], dtype: 'i32' },
      });
      for (const [path, x] of Object.entries(found))
        if (!Number.isFinite(x.data[0])) return say(`the output of module ${path}`);
    }
    const found = await gradients({
      ...inputs(0, batch),
      keys: { data: keys, shape: [recipe.accumulate, 2], dtype: 'i32' },
    });
    for (const [name, x] of Object.entries(found).reverse())
      if (!Number.isFinite(x.data[0])) return say(`the gradient of '${name}' in module ${moduleOf(name)}`);
    return say('nothing by itself: the squares of the gradients overflow float32');
  } finally {
    outputs.dispose();
    gradients.dispose();
  }
}
