/** facegrad's training step: MobileFaceNet, ArcFace, SGD as one compiled plan. */
import { compile } from '../../src/compile.ts';
import { host } from '../../src/core/tensor.ts';
import type { Device } from '../../src/device/device.ts';
import { grad } from '../../src/grad.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import { initialize, parametersOf, type State, stateOf, variablesOf } from '../../src/nn/module.ts';
import { optimizerOf } from '../../src/train/step.ts';
import type { Program, Task } from './task.ts';

export interface Ours extends Pick<Program, 'step'> {
  /** Every number before the first step. */
  readonly state: State;
}

export async function openOurs({ recipe, classes }: Task, device: Device): Promise<Ours> {
  const { batch, inputSize, width, s, m } = recipe;
  const net = initialize(new MobileFaceNet({ inputSize, width }), 1);
  const head = initialize(new ArcFace({ classes, s, m }), 1);
  const parameters = [...parametersOf(net), ...parametersOf(head)];
  const optimizer = optimizerOf(parameters, recipe);
  const step = compile(
    ({ images, labels, lr }, ctx) => {
      const { loss } = head.loss(net.call(images!, ctx), labels!);
      optimizer.update(grad(loss, parameters), lr!, ctx);
      return { loss };
    },
    { device, training: true },
  );
  const { lr } = recipe;
  const shape = [batch, ...inputSize, 3];
  return {
    state: await stateOf([...variablesOf(net), ...variablesOf(head)]),
    async step(images, labels) {
      const { loss } = await step({ images: host(images, shape), labels: host(labels, [batch]), lr });
      return loss!.data[0]!;
    },
  };
}
