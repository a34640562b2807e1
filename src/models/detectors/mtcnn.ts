/**
 * The three networks of MTCNN: P-Net looks at every place of a picture, R-Net and O-Net at crops of 24 and 48 pixels.
 *
 * The one idea: each is a stack of unpadded convolutions with PReLU and max pooling whose windows may end beyond the edge
 * (Caffe's rounding up), read by a classifier, a correction of the box and, in O-Net, five points. Paths are the module names of
 * facenet-pytorch behind the network's own name, so its three states fill the graphs. Zhang et al. 2016, arXiv 1604.02878.
 */
import { host } from '../../core/tensor.ts';
import { GraphBuilder, type Value } from '../graph/builder.ts';
import type { Graph } from '../graph/spec.ts';

export type MtcnnPart = 'pnet' | 'rnet' | 'onet';

const zeros = (...shape: number[]) => host(new Float32Array(shape.reduce((a, b) => a * b)), shape);

/** The layers of a network by the names of their states. */
class Layers {
  private readonly b: GraphBuilder;
  private readonly part: MtcnnPart;
  constructor(b: GraphBuilder, part: MtcnnPart) {
    this.b = b;
    this.part = part;
  }
  conv(x: Value, outputs: number, kernel: number, name: string): Value {
    const weight = zeros(kernel, kernel, x.shape[3]!, outputs);
    return this.b.conv2d(x, { weight, bias: zeros(outputs) }, `${this.part}.${name}`);
  }
  /** The last axis to `outputs` numbers. */
  dense(x: Value, outputs: number, name: string): Value {
    const weights = { weight: zeros(x.shape[1]!, outputs), bias: zeros(outputs) };
    return this.b.linear(x, weights, `${this.part}.${name}`);
  }
  prelu(x: Value, index: number): Value {
    return this.b.prelu(x, zeros(x.shape[x.shape.length - 1]!), `${this.part}.prelu${index}`);
  }
  /** Max pooling with stride 2; what is left at the right and the bottom makes a window of its own. */
  pool(x: Value, kernel: number, index: number): Value {
    const beyond = [1, 2].map((axis) => {
      const size = x.shape[axis]!;
      return Math.max(0, Math.ceil((size - kernel) / 2) * 2 + kernel - size);
    });
    const padding = [0, beyond[0]!, 0, beyond[1]!];
    const window = { kernel: [kernel, kernel], stride: [2, 2], padding };
    return this.b.apply('maxPool', [x], window, `${this.part}.pool${index}`);
  }
  /** Images as rows, columns first: the order that the dense layers were trained in. */
  rows(x: Value): Value {
    const turned = this.b.apply('transpose', [x], { axes: [0, 2, 1, 3] }, `${this.part}.turned`);
    return this.b.reshape(turned, [1, x.shape[1]! * x.shape[2]! * x.shape[3]!], `${this.part}.rows`);
  }
  softmax(x: Value): Value {
    return this.b.apply('softmax', [x], { axis: -1 }, `${this.part}.softmax`);
  }
}

/** The side of the crops; P-Net's is its smallest picture. */
export const mtcnnSides: Readonly<Record<MtcnnPart, number>> = { pnet: 12, rnet: 24, onet: 48 };

/** What a network gives for an image. */
function outputsOf(b: GraphBuilder, part: MtcnnPart, image: Value): Record<string, Value> {
  const l = new Layers(b, part);
  if (part === 'pnet') {
    const x = l.pool(l.prelu(l.conv(image, 10, 3, 'conv1'), 1), 2, 1);
    const y = l.prelu(l.conv(l.prelu(l.conv(x, 16, 3, 'conv2'), 2), 32, 3, 'conv3'), 3);
    return { prob: l.softmax(l.conv(y, 2, 1, 'conv4_1')), reg: l.conv(y, 4, 1, 'conv4_2') };
  }
  if (part === 'rnet') {
    const x = l.pool(l.prelu(l.conv(image, 28, 3, 'conv1'), 1), 3, 1);
    const y = l.pool(l.prelu(l.conv(x, 48, 3, 'conv2'), 2), 3, 2);
    const z = l.prelu(l.conv(y, 64, 2, 'conv3'), 3);
    const d = l.prelu(l.dense(l.rows(z), 128, 'dense4'), 4);
    return { prob: l.softmax(l.dense(d, 2, 'dense5_1')), reg: l.dense(d, 4, 'dense5_2') };
  }
  const x = l.pool(l.prelu(l.conv(image, 32, 3, 'conv1'), 1), 3, 1);
  const y = l.pool(l.prelu(l.conv(x, 64, 3, 'conv2'), 2), 3, 2);
  const z = l.pool(l.prelu(l.conv(y, 64, 3, 'conv3'), 3), 2, 3);
  const v = l.prelu(l.conv(z, 128, 2, 'conv4'), 4);
  const d = l.prelu(l.dense(l.rows(v), 256, 'dense5'), 5);
  return {
    prob: l.softmax(l.dense(d, 2, 'dense6_1')),
    reg: l.dense(d, 4, 'dense6_2'),
    points: l.dense(d, 10, 'dense6_3'),
  };
}

/**
 * One of the networks, all numbers 0: `graphNetwork({ spec, tensors })` fills it. It takes RGB, (x − 127.5)/128; P-Net of any size
 * from 12x12, R-Net 24x24, O-Net 48x48. It gives `prob` (softmax: background, face), `reg` (corrections of x0, y0, x1, y1 in box
 * sizes) and, O-Net alone, `points` (five x, five y in box sizes); P-Net at every second pixel, the others one a crop.
 */
export function mtcnnGraph(part: MtcnnPart, size?: readonly [number, number]): Graph {
  const b = new GraphBuilder();
  const side = mtcnnSides[part];
  const [height, width] = part === 'pnet' && size ? size : [side, side];
  return b.finish(outputsOf(b, part, b.input('image', [height, width, 3])));
}

/** All three side by side, the form in which they are kept in one file: inputs by part, outputs as `onet.points`. */
export function mtcnnGraphs(): Graph {
  const b = new GraphBuilder();
  const outputs: Record<string, Value> = {};
  for (const part of ['pnet', 'rnet', 'onet'] as const) {
    const side = mtcnnSides[part];
    const made = outputsOf(b, part, b.input(part, [side, side, 3]));
    for (const [name, value] of Object.entries(made)) outputs[`${part}.${name}`] = value;
  }
  return b.finish(outputs);
}
