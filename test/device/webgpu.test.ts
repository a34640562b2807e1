/** The WebGPU device itself: limits respected, memory flat, errors that name the op, order of runs. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { DeviceError } from '../../src/core/errors.ts';
import { host, tensor, Variable } from '../../src/core/tensor.ts';
import { openGpu } from '../../src/device/gpu.ts';
import { checkGpu } from '../../src/device/gpuCheck.ts';
import { openDevice } from '../../src/device/open.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { foldGroups, type WebGpuPlan } from '../../src/device/webgpuPlan.ts';
import { grad } from '../../src/grad.ts';
import { ArcFace } from '../../src/heads/arcFace.ts';
import { ConvBlock } from '../../src/nn/layers.ts';
import { initialize, Module, nameTree, parametersOf } from '../../src/nn/module.ts';
import {
  add,
  cast,
  exp,
  flip,
  gather,
  matmul,
  mean,
  mul,
  reshape,
  split,
  sum,
  transpose,
} from '../../src/ops/index.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { trainingStep } from '../../src/train/step.ts';
import { networkFor, trainable } from '../../src/train/trainable.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';

/** A GPU object that finds what it is told to. */
const gpuWith = (adapter: unknown) => ({ requestAdapter: async () => adapter }) as unknown as GPU;

describe('without a usable adapter', () => {
  it('says so in one sentence and what to do', async () => {
    await expect(openGpu({ gpu: gpuWith(null) })).rejects.toThrow(
      /^webgpu: no adapter found\nInstall a Vulkan, Metal or D3D12 driver, or use --device wasm\.$/,
    );
  });
  it('auto takes WASM and says why', async () => {
    const device = await openDevice('auto', { threads: 1 });
    expect(['wasm', 'webgpu']).toContain(device.info().name);
    if (device.info().name === 'wasm')
      expect(device.info().reason).toMatch(
        /; not WebGPU: (this machine has no GPU|no adapter found|its adapter computes on the CPU|Node has no WebGPU of its own; .*)$/,
      );
    await device.dispose();
  });
});

describe('grids', () => {
  it('fold to at most 65,535 workgroups an axis, wasting little', () => {
    for (const n of [1, 65535, 65536, 100_000, 4_294_967, 65535 * 65535]) {
      const { x, y } = foldGroups(n);
      expect(x).toBeLessThanOrEqual(65535);
      expect(y).toBeLessThanOrEqual(65535);
      expect(x * y).toBeGreaterThanOrEqual(n);
      expect(x * y - n).toBeLessThan(y);
    }
  });
});

describe('the self-test', () => {
  it('passes on the reference and fails on a device that computes wrongly', async () => {
    const right = new ReferenceDevice();
    expect(await checkGpu(right)).toBeUndefined();
    const wrong = new ReferenceDevice((x) => Math.fround(x * (1 + 2 ** -12)));
    expect(await checkGpu(wrong)).toMatch(/^its (matrix product|reduction) is wrong$/);
  });
});

describe.runIf(runGpu)('webgpu', () => {
  it('passes the self-test', async () => {
    const device = await openGpuDevice();
    expect(await checkGpu(device)).toBeUndefined();
    await device.dispose();
  });

  it('runs in the order asked for, without waiting for results', async () => {
    const device = await openGpuDevice();
    const v = new Variable('v', Float32Array.of(1), [1]);
    const f = compile(
      ({ x }, ctx) => {
        ctx.assign(v, add(mul(v.tensor, 2), x!));
        return { old: v.tensor };
      },
      { device },
    );
    const results = await Promise.all([1, 2, 3].map((n) => f({ x: host(Float32Array.of(n), [1]) })));
    expect(results.map((r) => r.old!.data[0])).toEqual([1, 3, 8]);
    expect(Array.from(await v.read())).toEqual([19]);
    f.dispose();
    await device.dispose();
  });

  it('reads a variable while runs go on, and keeps what they wrote', async () => {
    const device = await openGpuDevice();
    const v = new Variable('v', Float32Array.of(1), [1]);
    const f = compile(
      (_, ctx) => {
        ctx.assign(v, mul(v.tensor, 2));
        return undefined;
      },
      { device },
    );
    await f();
    const [early] = await Promise.all([v.read(), f(), f()]);
    expect(Array.from(early)).toEqual([2]);
    expect(Array.from(await v.read())).toEqual([8]);
    f.dispose();
    await device.dispose();
  });

  it('binds views at any offset, and byte views too', async () => {
    const device = await openGpuDevice();
    const x = Float32Array.from({ length: 21 }, (_, i) => i + 1);
    const bytes = Uint8Array.from({ length: 21 }, (_, i) => i + 1);
    const f = compile(
      (t) => {
        const [, b, c] = split(t.x!, [1, 2, 4]);
        const [, q] = split(t.bytes!, [1, 6]);
        return {
          product: matmul(b!, c!, { transB: true }),
          sums: sum(c!, 1),
          bytes: q!,
          doubled: mul(cast(q!, 'f32'), 2),
        };
      },
      { device },
    );
    const out = await f({ x: host(x, [7, 3]), bytes: host(bytes, [7, 3]) });
    const row = (r: number) => Array.from(x.subarray(3 * r, 3 * r + 3));
    const dot = (a: number[], b: number[]) => a.reduce((s, v, i) => s + v * b[i]!, 0);
    expect(Array.from(out.product!.data)).toEqual([1, 2].flatMap((i) => [3, 4, 5, 6].map((j) => dot(row(i), row(j)))));
    expect(Array.from(out.sums!.data)).toEqual([3, 4, 5, 6].map((j) => dot(row(j), [1, 1, 1])));
    expect(Array.from(out.bytes!.data)).toEqual(Array.from(bytes.subarray(3)));
    expect(Array.from(out.doubled!.data)).toEqual(Array.from(bytes.subarray(3), (b) => 2 * b));
    f.dispose();
    await device.dispose();
  });

  it('computes what depends on variables alone once, and again when one changes', async () => {
    const device = await openGpuDevice();
    const v = new Variable('v', Float32Array.of(1, 2), [2]);
    const f = compile(({ x }) => matmul(x!, transpose(mul(reshape(v.tensor, [1, 2]), reshape(v.tensor, [1, 2])))), {
      device,
    });
    const x = host(Float32Array.of(1, 1), [1, 2]);
    expect((await f.plan({ x })).explain()).toMatch(/[1-9] in the prologue/);
    const once = async () => (await f({ x })).result!.data[0];
    expect([await once(), await once()]).toEqual([5, 5]);
    v.write(Float32Array.of(3, 4));
    expect([await once(), await once()]).toEqual([25, 25]);
    f.dispose();
    v.dispose();
    await device.dispose();
  });

  it('goes on after step memory has grown, shrunk, or a variable has gone and come', async () => {
    const device = await openGpuDevice();
    const v = new Variable('v', Float32Array.of(2), [1]);
    const chain = (n: number) => {
      const f = compile(({ x }) => sum(exp(flip(mul(flip(x!, [0]), v.tensor), [0]))), { device });
      const x = host(new Float32Array(n).fill(0.5), [n]);
      return { f, run: async () => (await f({ x })).result!.data[0]! };
    };
    const [small, large] = [chain(8), chain(100_000)];
    const first = await small.run();
    expect(first).toBeCloseTo(8 * Math.E, 4);
    const before = device.stats().stepBytes;
    expect(await large.run()).toBeCloseTo(1e5 * Math.E, -1);
    expect(device.stats().stepBytes).toBeGreaterThan(before);
    expect(await small.run()).toBe(first);
    large.f.dispose();
    expect(await small.run()).toBe(first);
    expect(device.stats().stepBytes).toBe(before);
    device.forget(v);
    expect(await small.run()).toBe(first);
    small.f.dispose();
    await device.dispose();
  });

  it('refuses a tensor past the adapter limit before it runs, saying which and what to do', async () => {
    const least = await openGpuDevice({ least: true });
    const f = compile(({ x }) => mean(mul(x!, 2), 1), { device: least, fuse: false });
    const big = { shape: [70, 1_000_000], dtype: 'f32' } as const;
    await expect(f.plan({ x: big })).rejects.toThrow(
      /^webgpu: mul: expected tensors of at most 134 MB \(the adapter's limit\), got one of 280 MB\n.*smaller batch/,
    );
    expect(least.stats()).toMatchObject({ plans: 0, buffers: 0 });
    await least.dispose();
  });

  it('names the op and its module where a kernel cannot be made', async () => {
    class Wide extends Module {
      protected override forward(x: Parameters<typeof sum>[0]) {
        return gather(x, tensor(Int32Array.of(1)));
      }
    }
    const net = new Wide();
    net.path = 'blocks.3';
    const device = await openGpuDevice();
    const real = device.gpu.createComputePipelineAsync.bind(device.gpu);
    device.gpu.createComputePipelineAsync = (d) =>
      real({ ...d, compute: { ...d.compute, entryPoint: d.label?.startsWith('gather') ? 'nothing' : 'main' } });
    const f = compile(({ x }, ctx) => net.call(x!, ctx), { device });
    await expect(f({ x: host(new Float32Array(4), [2, 2]) })).rejects.toThrow(
      /^webgpu: the kernel of 'gather in blocks\.3: .*' does not compile/,
    );
    await device.dispose();
  });

  it('tells when kernels get ready', async () => {
    const device = await openGpuDevice();
    const seen: [number, number][] = [];
    const f = compile(({ x }) => ({ a: sum(x!), b: matmul(x!, x!) }), {
      device,
      onProgress: (done, total) => seen.push([done, total]),
    });
    await f.plan({ x: { shape: [8, 8], dtype: 'f32' } });
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.map(([done]) => done)).toEqual(seen.map((_, i) => i + 1));
    expect(new Set(seen.map(([, total]) => total))).toEqual(new Set([seen.length]));
    await device.dispose();
  });

  it('keeps the same memory over 200 training steps', async () => {
    const device = await openGpuDevice();
    const block = new ConvBlock(3, 8, { kernel: 3, stride: 2, padding: 1 });
    const head = initialize(new ArcFace({ classes: 8, embeddingSize: 8, s: 16, m: 0.2 }), 2);
    nameTree(block, 'block');
    const parameters = [...parametersOf(initialize(block, 1)), ...parametersOf(head)];
    const optimizer = sgd(parameters, { momentum: 0.9 });
    const step = compile(
      ({ x, labels, lr }, ctx) => {
        const { loss } = head.loss(mean(block.call(x!, ctx), [1, 2]), labels!, ctx);
        optimizer.update(grad(loss, parameters), lr!, ctx);
        return { loss };
      },
      { device, training: true },
    );
    const x = host(
      Float32Array.from({ length: 4 * 8 * 8 * 3 }, (_, i) => Math.sin(i)),
      [4, 8, 8, 3],
    );
    const run = () => step({ x, labels: host(Int32Array.of(0, 1, 2, 3), [4]), lr: 0.01 });
    for (let i = 0; i < 3; i++) await run();
    const before = device.stats();
    expect(before.buffers).toBeGreaterThan(10);
    for (let i = 0; i < 200; i++) await run();
    expect(device.stats()).toEqual(before);
    step.dispose();
    await device.dispose();
  });

  it('profiles every dispatch with its module', async () => {
    const recipe = resolveRecipe('demo', { batch: 4, inputSize: [32, 32], width: 0.25, embeddingSize: 16 });
    const device = await openGpuDevice();
    const net = initialize(networkFor(recipe), 1);
    const head = initialize(new ArcFace({ classes: 8, embeddingSize: 16, s: 16, m: 0.2 }), 2);
    const step = trainingStep(trainable(net, head, recipe), recipe, device);
    const plan = (await step.plan()) as WebGpuPlan;
    const profile = await plan.profile(
      new Map<string, Uint8Array | Int32Array | Float32Array>([
        ['images', new Uint8Array(4 * 32 * 32 * 3)],
        ['labels', new Int32Array(4)],
        ['lr', Float32Array.of(0.01)],
        ['keys', new Int32Array(2)],
      ]),
    );
    expect(profile).toHaveLength(plan.calls);
    expect(profile.every((c) => c.ms >= 0 && c.bytes > 0)).toBe(true);
    expect(profile.filter((c) => c.path.startsWith('blocks.')).length).toBeGreaterThan(50);
    expect(profile.some((c) => c.label.startsWith('conv2dWeightGrad') && c.path !== '')).toBe(true);
    step.dispose();
    await device.dispose();
  });

  it('rejects what is under way and what is asked for later', async () => {
    const device = await openGpuDevice();
    const f = compile(({ x }) => matmul(x!, x!), { device });
    const x = host(new Float32Array(256 * 256), [256, 256]);
    await f({ x });
    const pending = f({ x });
    device.gpu.destroy();
    await expect(pending).rejects.toThrow(/^webgpu: the device was lost \(destroyed/);
    await expect(f({ x })).rejects.toThrow(DeviceError);
    expect(device.isLost).toBe(true);
    expect(device.info().available).toBe(false);
    await device.dispose();
  });

  it('is of no use once disposed', async () => {
    const device = await openGpuDevice();
    await device.dispose();
    const f = compile(({ x }) => sum(x!), { device });
    await expect(f({ x: 1 })).rejects.toThrow(DeviceError);
  });
});
