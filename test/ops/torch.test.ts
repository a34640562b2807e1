/**
 * Operations, losses and optimizers against PyTorch's float64 results (test/reference/ops.py): the reference device to
 * 1e-9, the WASM device within the bounds of the plain f32 loop.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import type { Data } from '../../src/core/dtype.ts';
import { fold, type Key, keyOf, normal, uniform } from '../../src/core/random.ts';
import { type HostTensor, host, type Tensor, type TensorSpec } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import type { WasmDevice } from '../../src/device/wasm.ts';
import * as E from '../../src/expr/nodes.ts';
import { grad } from '../../src/grad.ts';
import { arcFaceLogits } from '../../src/heads/arcFace.ts';
import { BatchNorm } from '../../src/nn/layers.ts';
import { nameTree, Parameter } from '../../src/nn/module.ts';
import * as ops from '../../src/ops/index.ts';
import { adam, adamW } from '../../src/optim/adam.ts';
import type { Optimizer } from '../../src/optim/optimizer.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { type Batch, outOfBound, type Result, runOn, truthOf, wasm } from './harness.ts';

type Numbers = readonly [number, number];
type Four = readonly [number, number, number, number];
interface Attrs {
  readonly stride: Numbers;
  readonly padding: readonly number[];
  readonly dilation: Numbers;
  readonly groups: number;
  readonly kernel: Numbers;
  readonly countIncludePad: boolean;
  readonly size: Numbers;
  readonly alignCorners: boolean;
  readonly labelSmoothing: number;
  readonly eps: number;
  readonly momentum: number;
  readonly betas: readonly [number, number];
  readonly training: boolean;
  readonly shift: number;
  readonly s: number;
  readonly m: number;
  readonly lr: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
}
interface Golden {
  readonly name: string;
  readonly op: string;
  readonly attrs: Attrs;
  readonly inputs: Readonly<
    Record<string, { kind: string; shape: number[]; classes?: number; values?: number[] | number[][] }>
  >;
  readonly outputs: Readonly<Record<string, { shape: number[]; f64: [number, number, number]; first: number[] }>>;
}
const file = JSON.parse(readFileSync(new URL('../reference/ops.json', import.meta.url), 'utf8')) as {
  seed: number;
  cases: Golden[];
};
const keyFor = (c: Golden) => fold(keyOf(file.seed), c.name);

function drawn(key: Key, name: string, s: Golden['inputs'][string]): HostTensor {
  const n = s.shape.reduce((a, b) => a * b, 1);
  const k = fold(key, name);
  if (s.kind === 'labels')
    return host(
      Int32Array.from(uniform(k, n), (u) => Math.floor(s.classes! * u)),
      s.shape,
    );
  if (s.kind === 'fixed')
    return host((name === 'labels' ? Int32Array : Float32Array).from(s.values!.flat()) as Data, s.shape);
  return host(s.kind === 'uniform' ? uniform(k, n) : normal(k, n), s.shape);
}

type Inputs = Readonly<Record<string, Tensor>>;
const biased = (y: Tensor, { bias }: Inputs) => (bias ? ops.add(y, bias) : y);
/** The logits that the fused head never stores. */
function arcFaceOf(x: Tensor, w: Tensor, labels: Tensor, { s, m }: Pick<Attrs, 's' | 'm'>): Tensor {
  const cos = ops.matmul(ops.l2Normalize(x), ops.l2Normalize(w), { transB: true });
  const { target, nonTarget } = arcFaceLogits({ s, m });
  const [c, hit] = [E.input(0), E.input(1)];
  return ops.elementwise('arcFace', E.where(E.gt(hit, 0.5), target(c), nonTarget(c, c)), [
    cos,
    ops.oneHot(labels, w.shape[0]!),
  ]);
}
const pooling = (a: Attrs) => ({ kernel: a.kernel, stride: a.stride, padding: a.padding as Numbers });
const forward: Record<string, (t: Inputs, a: Attrs) => Tensor> = {
  conv2d: (t, a) => biased(ops.conv2d(t.x!, t.weight!, { ...a, padding: a.padding as Four }), t),
  batchNorm(t, a) {
    const x = ops.add(t.x!, a.shift);
    return a.training
      ? ops.batchNorm(x, t.weight!, t.bias!, a.eps).y
      : ops.normalize(x, t.runningMean!, t.runningVar!, t.weight!, t.bias!, a.eps);
  },
  prelu: (t) => ops.prelu(t.x!, t.weight!),
  maxPool: (t, a) => ops.maxPool(t.x!, pooling(a)),
  avgPool: (t, a) => ops.avgPool(t.x!, { ...pooling(a), countIncludePad: a.countIncludePad }),
  resizeBilinear: (t, a) => ops.resize(t.x!, a.size, { alignCorners: a.alignCorners }),
  crossEntropy: (t, a) => ops.crossEntropy(t.x!, t.labels!, { labelSmoothing: a.labelSmoothing }),
  l2Normalize: (t, a) => ops.l2Normalize(t.x!, a.eps),
  arcface: (t, a) => arcFaceOf(t.x!, t.weight!, t.labels!, a),
};

/** Against norm, projections and first values, all to 1e-9 of the norm. */
function agree(c: Golden, name: string, shape: readonly number[], values: ArrayLike<number>): void {
  const want = c.outputs[name]!;
  expect([...shape], name).toEqual(want.shape);
  const n = values.length;
  const dots = [0, 1].map((j) => {
    const p = normal(fold(fold(fold(keyFor(c), 'projection'), name), j), n);
    return Array.from(values).reduce((s, v, i) => s + v * p[i]!, 0);
  });
  const norm = Math.sqrt(Array.from(values).reduce((s, v) => s + v * v, 0));
  [norm, ...dots].forEach((v, i) => {
    expect(Math.abs(v - want.f64[i]!), `${name}: ${i ? `projection ${i}` : 'norm'}`).toBeLessThanOrEqual(
      1e-9 * (1 + want.f64[0]),
    );
  });
  want.first.forEach((v, i) => {
    expect(Math.abs(values[i]! - v), `${name}[${i}]`).toBeLessThanOrEqual(1e-9 * (1 + want.f64[0]));
  });
}

function batchOf(c: Golden, shapes: Map<string, TensorSpec>): Batch & { inputs: Map<string, HostTensor> } {
  const key = keyFor(c);
  const inputs = new Map(Object.entries(c.inputs).map(([name, s]) => [name, drawn(key, name, s)] as const));
  const y = c.outputs.y!;
  const size = y.shape.reduce((a, b) => a * b, 1);
  if (y.shape.length) inputs.set('dy', host(normal(fold(key, 'dy'), size), y.shape));
  return {
    inputs,
    build(t) {
      const out = forward[c.op]!(t, c.attrs);
      const wrt = Object.keys(c.inputs).filter((name) => c.outputs[`d${name}`]);
      const gradients = grad(
        t.dy ? ops.sum(ops.mul(out, t.dy)) : out,
        wrt.map((name) => t[name]!),
      );
      const all = { y: out, ...Object.fromEntries(wrt.map((name, i) => [`d${name}`, gradients[i]!])) };
      for (const [name, v] of Object.entries(all)) shapes.set(name, v);
      return all;
    },
  };
}

let device: WasmDevice;
beforeAll(async () => {
  device = await wasm.relaxed(1);
});
afterAll(() => device.dispose());

describe('operations and losses', () => {
  it.each(file.cases.filter((c) => forward[c.op]).map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const shapes = new Map<string, TensorSpec>();
    const batch = batchOf(c, shapes);
    const truth = await truthOf(batch);
    for (const r of truth.f64.values()) agree(c, r.name, shapes.get(r.name)!.shape, r.values);
    const wanted = Object.keys(c.outputs).filter((name) => !name.startsWith('running'));
    expect([...truth.f64.keys()].sort()).toEqual(wanted.sort());
    const got: ReadonlyMap<string, Result> = await runOn(device, batch);
    for (const r of got.values()) expect(outOfBound(r, truth)).toBeUndefined();
  });
});

describe('the fused margin softmax', () => {
  it.each([1, 2, 3, 5, 100])('in blocks of %i classes is cross-entropy over all logits', async (block) => {
    for (const c of file.cases.filter((g) => g.op === 'arcface')) {
      const { inputs } = batchOf(c, new Map());
      inputs.delete('dy');
      const batch = (loss: (t: Inputs) => Tensor): Batch => ({
        inputs,
        build(t) {
          const y = loss(t);
          const [dx, dw] = grad(y, [t.x!, t.weight!]);
          return { y, dx: dx!, dw: dw! };
        },
      });
      const whole = await truthOf(
        batch((t) => ops.crossEntropy(arcFaceOf(t.x!, t.weight!, t.labels!, c.attrs), t.labels!)),
      );
      const fused = batch(
        (t) =>
          ops.marginSoftmax(t.x!, t.weight!, t.labels!, arcFaceLogits({ s: c.attrs.s, m: c.attrs.m }), { block }).loss,
      );
      const truth = await truthOf(fused);
      for (const [name, r] of truth.f64)
        Array.from(r.values).forEach((v, i) => {
          expect(Math.abs(v - whole.f64.get(name)!.values[i]!), `${c.name} ${name}[${i}]`).toBeLessThan(1e-11);
        });
      for (const r of (await runOn(device, fused)).values()) expect(outOfBound(r, truth)).toBeUndefined();
    }
  });
});

describe('the batch norm layer moves its running moments', () => {
  it.each(file.cases.filter((c) => c.op === 'batchNorm' && c.attrs.training).map((c) => [c.name, c] as const))(
    '%s',
    async (_, c) => {
      const inputs = new Map(Object.entries(c.inputs).map(([n, s]) => [n, drawn(keyFor(c), n, s)] as const));
      const x = inputs.get('x')!;
      const layer = nameTree(new BatchNorm(x.shape.at(-1)!, { eps: c.attrs.eps, momentum: c.attrs.momentum }), 'bn');
      for (const name of ['weight', 'bias', 'runningMean', 'runningVar'] as const)
        layer[name]!.write(inputs.get(name)!.data);
      const reference = new ReferenceDevice();
      const f = compile(({ x: t }, ctx) => layer.call(ops.add(t!, c.attrs.shift), ctx), {
        device: reference,
        training: true,
      });
      await f({ x });
      for (const name of ['runningMean', 'runningVar'] as const)
        agree(c, name, layer[name].shape, reference.exact(layer[name]));
    },
  );
});

describe('optimizers', () => {
  const adamOptions = ({ betas: [beta1, beta2], eps, weightDecay }: Attrs) => ({
    beta1,
    beta2,
    eps,
    decay: () => weightDecay,
  });
  const optimizers: Record<string, (p: Parameter, a: Attrs) => Optimizer> = {
    sgd: (p, a) => sgd([p], { momentum: a.momentum, nesterov: a.nesterov, decay: () => a.weightDecay }),
    adam: (p, a) => adam([p], adamOptions(a)),
    adamW: (p, a) => adamW([p], adamOptions(a)),
  };
  const inputsOf = (c: Golden) =>
    new Map(Object.entries(c.inputs).map(([n, s]) => [n, drawn(keyFor(c), n, s)] as const));
  /** Five steps; `exact` numbers where the device has them. */
  async function train(c: Golden, d: ReferenceDevice | WasmDevice): Promise<ArrayLike<number>> {
    const inputs = inputsOf(c);
    const p = new Parameter([33], () => new Float32Array(33));
    p.name = 'weight';
    p.write(inputs.get('weight')!.data);
    const optimizer = optimizers[c.op]!(p, c.attrs);
    const step = compile(
      ({ g, lr }, ctx) => {
        optimizer.update([g!], lr!, ctx);
        return undefined;
      },
      { device: d, training: true },
    );
    const scalar: TensorSpec = { shape: [], dtype: 'f32' };
    const plan = await step.plan({ g: { shape: [33], dtype: 'f32' }, lr: scalar });
    // A Float32Array would round the learning rate before the f64 device sees it.
    const lr = d instanceof ReferenceDevice ? Float64Array.of(c.attrs.lr) : Float32Array.of(c.attrs.lr);
    for (let i = 0; i < 5; i++)
      await plan.run(
        new Map<string, Data>([
          ['g', inputs.get(`g${i}`)!.data],
          ['lr', lr as unknown as Data],
        ]),
      );
    return d instanceof ReferenceDevice ? d.exact(p) : p.read();
  }
  it.each(file.cases.filter((c) => optimizers[c.op]).map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const f64 = await train(c, new ReferenceDevice());
    agree(c, 'weight', [33], f64);
    const f32 = await train(c, new ReferenceDevice(Math.fround));
    const result = (values: ArrayLike<number>): Result => ({ name: 'weight', dtype: 'f32', values });
    let error = 0;
    let scale = 0;
    for (let i = 0; i < 33; i++) {
      error = Math.max(error, Math.abs(f32[i]! - f64[i]!));
      scale = Math.max(scale, Math.abs(f64[i]!));
    }
    const truth = {
      f64: new Map([['weight', result(f64)]]),
      f32: new Map([['weight', result(f32)]]),
      bounds: new Map([['weight', 4 * error + 2 ** -23 * scale]]),
    };
    expect(outOfBound(result(await train(c, device)), truth)).toBeUndefined();
  });

  it('every golden is used', () => {
    expect(file.cases.map((c) => c.op).filter((op) => !forward[op] && !optimizers[op])).toEqual([]);
  });
});
