/**
 * Every op on its own, on arrays too large for the caches: the time of its kernels inside a plan, forward and backward.
 *
 * The one idea: the list is held against the registry by a test, so that no op goes unmeasured.
 */

import { type HostTensor, host, type Tensor, type TensorSpec } from '../src/core/tensor.ts';
import type { CallProfile } from '../src/device/device.ts';
import { grad } from '../src/grad.ts';
import * as ops from '../src/ops/index.ts';
import { checkpoint } from '../src/plan/checkpoint.ts';
import { trace } from '../src/plan/trace.ts';
import { openOp } from './kernels.ts';
import type { ModeName } from './machine.ts';
import { openModeDevice } from './models.ts';
import { countOnce } from './profile.ts';
import { sampleAll } from './sample.ts';
import { type Ceilings, type Result, resultOf } from './table.ts';

export interface OpWork {
  readonly name: string;
  readonly inputs: readonly TensorSpec[];
  build(...inputs: Tensor[]): Tensor | readonly Tensor[];
}

const f32 = (...shape: number[]): TensorSpec => ({ shape, dtype: 'f32' });
const i32 = (...shape: number[]): TensorSpec => ({ shape, dtype: 'i32' });
/** An activation of MobileFaceNet's second stage at batch 32, 25 MB. */
const image = f32(32, 28, 28, 256);
const channels = f32(256);
const matrix = f32(4096, 1024);

/** The gradient of the sum of y·y towards the first operand: y's own gradient is dense and not constant. */
const backwardOf =
  (build: (...x: Tensor[]) => Tensor) =>
  (...x: Tensor[]): Tensor => {
    const y = build(...x);
    return grad(ops.sum(ops.mul(y, y)), [x[0]!])[0]!;
  };
const both = (name: string, inputs: readonly TensorSpec[], build: (...x: Tensor[]) => Tensor): OpWork[] => [
  { name, inputs, build },
  { name: `${name} backward`, inputs, build: backwardOf(build) },
];
const one = (name: string, inputs: readonly TensorSpec[], build: OpWork['build']): OpWork => ({ name, inputs, build });

export const opWorks: readonly OpWork[] = [
  ...both('add', [image, channels], (x, b) => ops.add(x!, b!)),
  ...both('prelu', [image, channels], (x, a) => ops.prelu(x!, a!)),
  ...both('sigmoid', [image], (x) => ops.sigmoid(x!)),
  ...both('tanh', [image], (x) => ops.tanh(x!)),
  ...both('hardSwish', [image], (x) => ops.hardSwish(x!)),
  one('exp', [image], (x) => ops.exp(x!)),
  one('log', [image], (x) => ops.log(ops.abs(x!))),
  one('pow', [image], (x) => ops.pow(ops.abs(x!), 1.5)),
  one('acos', [image], (x) => ops.acos(x!)),
  one('where', [image], (x) => ops.where(ops.greater(x!, 0.1), x!, 1)),
  one('cast', [image], (x) => ops.cast(x!, 'i32')),
  ...both('sum rows', [matrix], (x) => ops.sum(x!, 1)),
  ...both('sum columns', [matrix], (x) => ops.sum(x!, 0)),
  one('mean', [matrix], (x) => ops.mean(x!)),
  ...both('max rows', [matrix], (x) => ops.max(x!, 1)),
  one('min columns', [matrix], (x) => ops.min(x!, 0)),
  one('argMax', [matrix], (x) => ops.argMax(x!, 1)),
  one('argMin', [matrix], (x) => ops.argMin(x!, 0)),
  one('topK 5', [matrix], (x) => {
    const { values, indices } = ops.topK(x!, 5);
    return [values, indices];
  }),
  one('transpose', [matrix], (x) => ops.transpose(x!)),
  one('transpose NHWC to NCHW', [image], (x) => ops.transpose(x!, [0, 3, 1, 2])),
  one('reshape', [matrix], (x) => ops.add(ops.reshape(x!, [1024, 4096]), 1)),
  ...both('slice', [image], (x) => ops.slice(x!, 1, 2, 26)),
  one('split', [image], (x) => ops.split(x!, [16, 16]).map((part) => ops.add(part, 1))),
  one('concat', [image, image], (x, y) => ops.concat([x!, y!], 3)),
  ...both('pad', [image], (x) =>
    ops.pad(x!, [
      [0, 0],
      [1, 1],
      [1, 1],
      [0, 0],
    ]),
  ),
  one('repeat', [i32(1, 1024)], (x) => ops.broadcastTo(x!, [4096, 1024])),
  one('flip', [image], (x) => ops.flip(x!, [2])),
  one('zeros', [], () => ops.zeros([4096, 1024])),
  one('iota', [], () => ops.iota([4096, 1024])),
  one('stopGradient', [image], (x) => ops.add(ops.stopGradient(x!), 1)),
  ...both('gather', [matrix, i32(2048)], (x, i) => ops.gather(x!, i!)),
  one('scatterAdd', [i32(2048), f32(2048, 1024)], (i, x) => ops.scatterAdd(i!, x!, 4096)),
  ...both('gatherAlong', [matrix, i32(4096, 16)], (x, i) => ops.gatherAlong(x!, i!, 1)),
  one('scatterAddAlong', [i32(4096, 16), f32(4096, 16)], (i, x) => ops.scatterAddAlong(i!, x!, 1024, 1)),
  one('oneHot', [i32(4096)], (i) => ops.oneHot(i!, 1024)),
  one('randomUniform', [i32(2)], (key) => ops.randomUniform(key!, [4096, 1024])),
  one('dropout', [image, i32(2)], (x, key) => ops.dropout(x!, 0.4, { training: true, key })),
  ...both('matmul', [f32(1024, 512), f32(512, 1024)], (a, b) => ops.matmul(a!, b!)),
  one('matmul batched', [f32(32, 196, 64), f32(32, 64, 196)], (a, b) => ops.matmul(a!, b!)),
  ...both('conv2d', [f32(8, 28, 28, 128), f32(3, 3, 128, 128)], (x, w) => ops.conv2d(x!, w!, { padding: 1 })),
  one('conv2d dw', [f32(8, 28, 28, 128), f32(3, 3, 128, 128)], (x, w) => {
    const y = ops.conv2d(x!, w!, { padding: 1 });
    return grad(ops.sum(ops.mul(y, y)), [w!])[0]!;
  }),
  ...both('depthwise', [image, f32(3, 3, 1, 256)], (x, w) => ops.conv2d(x!, w!, { padding: 1, groups: 256 })),
  one('depthwise dw', [image, f32(3, 3, 1, 256)], (x, w) => {
    const y = ops.conv2d(x!, w!, { padding: 1, groups: 256 });
    return grad(ops.sum(ops.mul(y, y)), [w!])[0]!;
  }),
  one('moments', [image], (x) => ops.moments(x!)),
  ...both('batchNorm', [image, channels, channels], (x, g, b) => ops.batchNorm(x!, g!, b!).y),
  ...both('maxPool', [image], (x) => ops.maxPool(x!, { kernel: 2 })),
  ...both('avgPool', [image], (x) => ops.avgPool(x!, { kernel: 2 })),
  one('globalAvgPool', [image], (x) => ops.globalAvgPool(x!)),
  ...both('resize', [image], (x) => ops.resize(x!, [42, 42])),
  ...both('l2Normalize', [matrix], (x) => ops.l2Normalize(x!)),
  one('softmax', [matrix], (x) => ops.softmax(x!)),
  ...both('crossEntropy', [matrix, i32(4096)], (x, labels) => ops.crossEntropy(x!, labels!, { labelSmoothing: 0.1 })),
  {
    name: 'checkpoint',
    inputs: [image],
    build: backwardOf((x) => checkpoint((t: Tensor) => ops.sigmoid(ops.tanh(t)))(ops.mul(x!, 2))),
  },
];

const names = ['a', 'b', 'c', 'd'];

/** The works' graphs, by name. */
export const graphOf = (w: OpWork) =>
  trace(
    (inputs) => {
      const y = w.build(...w.inputs.map((_, i) => inputs[names[i]!]!));
      return Object.fromEntries((Array.isArray(y) ? y : [y]).map((t, i) => [`y${i}`, t]));
    },
    Object.fromEntries(w.inputs.map((spec, i) => [names[i]!, spec])),
    true,
  );

function draw({ shape, dtype }: TensorSpec): HostTensor {
  const n = shape.reduce((a, b) => a * b, 1);
  return dtype === 'i32'
    ? host(
        Int32Array.from({ length: n }, (_, i) => (i * 7919) % 1024),
        shape,
      )
    : host(
        Float32Array.from({ length: n }, (_, i) => ((i * 7919) % 1024) / 1024 - 0.5),
        shape,
      );
}

const kernelMs = (calls: readonly CallProfile[]) => calls.reduce((sum, c) => sum + c.ms, 0);

/** The kernels of a graph's one op without operands. */
function alone(graph: ReturnType<typeof graphOf>, mode: ModeName, threads: number) {
  const { node, shape } = [...graph.outputs.values()][0]!;
  return openOp(node.op.name, mode, threads, [], shape, node.attrs);
}

export interface OpsOptions {
  readonly mode: ModeName;
  readonly threads: number;
  readonly seconds: number;
}

export async function benchOps({ mode, threads, seconds }: OpsOptions, ceilings: Ceilings): Promise<Result[]> {
  const results: Result[] = [];
  const device = await openModeDevice(mode, threads);
  for (const w of opWorks) {
    const graph = graphOf(w);
    const plan = await device.compile(graph);
    const inputs = new Map(w.inputs.map((spec, i) => [names[i]!, draw(spec).data]));
    const calls = await plan.profile!(inputs);
    // Bytes that the work must move at least: its inputs and outputs once.
    const specs = [...w.inputs, ...[...graph.outputs.values()].map((t): TensorSpec => t)];
    const bytes = 4 * specs.reduce((n, s) => n + s.shape.reduce((a, b) => a * b, 1), 0);
    const flops = countOnce(calls, mode === 'webgpu').reduce((n, c) => n + c.flops, 0);
    // What depends on nothing runs once, before the plan: it is timed outside of one.
    const op = calls.length ? undefined : await alone(graph, mode, threads);
    const run = op?.run ?? (async () => kernelMs(await plan.profile!(inputs)));
    const [ms] = await sampleAll([{ name: w.name, run }], { seconds, rounds: 1 });
    await op?.close();
    results.push(resultOf({ work: `op ${w.name}`, threads, mode, flops, bytes }, ms!, ceilings));
    plan.dispose();
  }
  await device.dispose();
  return results;
}
