/** facegrad's training step: MobileFaceNet, ArcFace, SGD as one compiled plan. */
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { grad } from '../../src/grad.ts';
import { initialize, type State, stateOf, variablesOf } from '../../src/nn/module.ts';
import { headFor, networkFor, rulesFor, trainable } from '../../src/train/trainable.ts';
import type { Program, Task } from './task.ts';

export interface Ours extends Pick<Program, 'step'> {
  /** Every number before the first step. */
  readonly state: State;
  /** Weight decay of a parameter by its name. */
  decayOf(name: string): number;
}

export async function openOurs({ recipe, classes }: Task, device: Device): Promise<Ours> {
  const { batch } = recipe;
  const net = initialize(networkFor(recipe), 1);
  const head = initialize(headFor(recipe, net, classes), 1);
  const { optimizer, parameterSet } = trainable(net, head, recipe);
  const { parameters } = optimizer;
  const { decay } = rulesFor(parameterSet, recipe);
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(images!, ctx), labels!, ctx);
      optimizer.update(grad(loss, parameters), lr!, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const { lr } = recipe;
  const shape = [batch, ...net.preprocessing.inputSize, 3];
  return {
    decayOf: (name) => decay(parameters.find((p) => p.name === name)!),
    state: await stateOf([...variablesOf(net), ...variablesOf(head)]),
    async step(images, labels) {
      const { loss } = await step({ images: host(images, shape), labels: host(labels, [batch]), lr });
      return loss!.data[0]!;
    },
  };
}
