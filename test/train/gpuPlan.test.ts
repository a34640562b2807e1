/**
 * The WebGPU plan of a full training step (batch 32, 10,575 classes), lowered but not run: what it dispatches.
 */
import { expect, test } from 'vitest';
import type { Device } from '../../src/device/device.ts';
import { bytesMoved, fuseFor, lowerWgsl } from '../../src/device/lowerWgsl.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { initialize } from '../../src/nn/module.ts';
import { fuse } from '../../src/plan/fuse.ts';
import type { Graph } from '../../src/plan/trace.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { trainingStep } from '../../src/train/step.ts';
import { trainable } from '../../src/train/trainable.ts';

const recipe = resolveRecipe('mobilefacenet-arcface', { batch: 32 });

/** The graph that a training step hands to its device. */
async function stepGraph(): Promise<Graph> {
  const graphs: Graph[] = [];
  const device = {
    compile(graph: Graph) {
      graphs.push(graph);
      throw new Error('seen');
    },
  } as unknown as Device;
  const net = initialize(new MobileFaceNet(), 1);
  const head = initialize(new ArcFace({ classes: 10_575 }), 1);
  await trainingStep(trainable(net, head, recipe), recipe, device)
    .plan()
    .catch(() => {});
  return graphs[0]!;
}

test.each([8, 12])('with %i buffers a kernel: few kernels, busy reductions, memory within bounds', async (buffers) => {
  const limits = {
    subgroups: buffers > 8,
    storageBuffers: buffers,

    bufferBytes: 2 ** 28,
    operandBytes: 2 ** 27,
  };
  const plan = lowerWgsl(fuse(await stepGraph(), fuseFor(limits)), limits);
  const kernels = new Set(plan.calls.map((c) => c.call.code)).size;
  const stepBytes = plan.bankBytes.reduce((a, b) => a + b, 0);
  console.log(
    `training plan on WebGPU, ${buffers} buffers a kernel: ${plan.calls.length} dispatches, ${kernels} kernels, ${(stepBytes / 1e6).toFixed(0)} MB of step memory, ${(bytesMoved(plan) / 1e9).toFixed(2)} GB moved`,
  );
  for (const { call } of plan.calls) expect(call.bindings.length).toBeLessThanOrEqual(buffers);

  // The first dispatch of a step does the work, a second adds up what it left.
  const first = new Map<number, number>();
  for (const { call, step } of plan.calls) if (!first.has(step)) first.set(step, call.groups);
  const idle = plan.steps.flatMap((s, i) => {
    const read = Math.max(...s.inputs.map((t) => t.size));
    const reduces =
      (s.kind === 'op' && /WeightGrad|moments/.test(s.label)) || (s.kind === 'reduce' && s.space[1] >= 32 * 49);
    return reduces && read >= 32 * 49 * 128 && first.get(i)! < 256 ? [`${s.label} in ${s.path}: ${first.get(i)}`] : [];
  });
  expect(idle).toEqual([]);
  expect(kernels).toBeLessThanOrEqual(120);
  expect(stepBytes).toBeLessThan(1.1e9);
});
