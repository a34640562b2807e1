/**
 * Published detectors' states by name: RetinaFace of biubug6/Pytorch_Retinaface and the networks of MTCNN of facenet-pytorch.
 *
 * The one idea: the graphs' paths are PyTorch's module names, so only axes and the names of running statistics change.
 */
import { permuted } from '../../models/graph/channelsFirst.ts';
import type { HostTensor } from '../safetensors.ts';

const ends: Readonly<Record<string, string>> = { running_mean: 'runningMean', running_var: 'runningVar' };
/** For each number of axes where the new ones come from: OIHW to HWIO, [out, in] to [in, out]. */
const orders: Readonly<Record<number, readonly number[]>> = { 2: [1, 0], 4: [2, 3, 1, 0] };

/** A state of PyTorch as the variables of a graph whose paths are its module names, below `prefix`. */
export function torchVariables(state: ReadonlyMap<string, HostTensor>, prefix = ''): Map<string, HostTensor> {
  const out = new Map<string, HostTensor>();
  for (const [name, tensor] of state) {
    const dot = name.lastIndexOf('.');
    const end = name.slice(dot + 1);
    if (end === 'num_batches_tracked') continue;
    const path = name.slice(0, dot + 1);
    const order = orders[tensor.shape.length];
    out.set(`layers.${prefix}${path}${ends[end] ?? end}`, order ? permuted(tensor, order) : tensor);
  }
  return out;
}
