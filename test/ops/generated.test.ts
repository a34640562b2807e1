/**
 * Tests generated from the op records: every record and every named pointwise operation, forward and gradient, on the
 * reference device and on every mode of the WASM device.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fold, keyOf, permutation, uniformAt } from '../../src/core/random.ts';
import { type Tensor, tensor } from '../../src/core/tensor.ts';
import type { WasmDevice } from '../../src/device/wasm.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { grad } from '../../src/grad.ts';
import { type Op, registry } from '../../src/ops/define.ts';
import { cast, sum } from '../../src/ops/index.ts';
import { pointwiseRegistry } from '../../src/ops/pointwise.ts';
import { placeholder } from '../../src/plan/trace.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { composites, large } from './composites.ts';
import {
  type Batch,
  bitDifference,
  complaints,
  cotangentsOf,
  differentiable,
  draw,
  exactly,
  forwardBatch,
  gradientBatch,
  lossOf,
  outOfBound,
  type Problem,
  type Result,
  recordProblems,
  runOn,
  type Truth,
  truthOf,
  wasm,
} from './harness.ts';
import { hasWide, wideDevice } from './wide.ts';

const fromRecords = recordProblems();
const small = new Map([...fromRecords, ...composites()]);
const problems = new Map([...small, ...large()]);

/** Results equal the plain f32 loop to the bit: no arithmetic, one correctly rounded operation, or sums in its order. */
const exact = new Set(
  (
    'reshape transpose slice split concat pad repeat flip zeros iota gather gatherAlong scatterAdd scatterAddAlong oneHot ' +
    'argMax argMin topK max min maxPool stopGradient randomUniform abs neg sign floor ceil round add sub mul div sqrt ' +
    'square minimum maximum relu relu6 prelu where less lessEqual greater greaterEqual equal notEqual'
  ).split(' '),
);
/** Linear in each float operand, the others fixed: <c, f(x)> = <x, fᵀ(c)>. */
const linear = new Set(
  (
    'reshape transpose slice split concat repeat flip gather gatherAlong scatterAdd scatterAddAlong matmul conv2d ' +
    'conv2dInputGrad conv2dWeightGrad depthwiseConv2d depthwiseInputGrad depthwiseWeightGrad sum mean avgPool avgPoolGrad ' +
    'resize resizeGrad neg mul broadcastTo'
  ).split(' '),
);

interface Case extends Truth {
  readonly batch: Batch;
  /** On one narrow thread. */
  readonly one: ReadonlyMap<string, Result>;
}
const cases = new Map<string, { forward: Case; gradient: Case }>();
let narrow: WasmDevice;

async function makeCase(batch: Batch): Promise<Case> {
  return { batch, ...(await truthOf(batch)), one: await runOn(narrow, batch) };
}

beforeAll(async () => {
  narrow = await wasm.relaxed(1);
  for (const [name, list] of problems)
    cases.set(name, {
      forward: await makeCase(forwardBatch(list)),
      gradient: await makeCase(gradientBatch(list)),
    });
}, 120_000);
afterAll(() => narrow.dispose());

const passes = ['forward', 'gradient'] as const;
const withinBounds = (c: Case, got: ReadonlyMap<string, Result>) => complaints(got, (r) => outOfBound(r, c));
const equalBits = (got: ReadonlyMap<string, Result>, want: ReadonlyMap<string, Result>) =>
  complaints(got, (r) => bitDifference(r, want.get(r.name)!));
/** Complaints over all cases. */
async function all(check: (c: Case, name: string) => Promise<string[]> | string[]): Promise<string[]> {
  const out: string[] = [];
  for (const [name, c] of cases) for (const pass of passes) out.push(...(await check(c[pass], name)));
  return out;
}

describe('records', () => {
  it.each([...registry.keys()])('%s is complete', (name) => {
    const op = registry.get(name)!;
    expect(op.kernels).toBeDefined();
    expect(op.roles).toBeDefined();
    if (typeof op.backward !== 'function') expect(op.backward.reason).toMatch(/\w+ \w+/);
    if (name !== 'pointwise') expect(op.samples.length).toBeGreaterThan(0);
    for (const s of op.samples) {
      if (s.noGradient !== undefined) expect(s.noGradient).toMatch(/\w+ \w+|integers/);
      const inputs = s.inputs.map((x) => ({ shape: x.shape, dtype: x.dtype ?? 'f32' }));
      const cost = op.cost(inputs, op.infer(inputs, s.attrs), s.attrs);
      expect(cost.flops).toBeGreaterThanOrEqual(0);
      expect(cost.bytes).toBeGreaterThanOrEqual(0);
    }
  });
  it('every named pointwise operation has samples', () => {
    for (const p of pointwiseRegistry.values()) expect(p.samples.length, p.name).toBeGreaterThan(0);
  });
  it('an op without a gradient says why', () => {
    for (const op of registry.values()) {
      if (typeof op.backward === 'function') continue;
      const { reason } = op.backward;
      const s = op.samples[0]!;
      const x = placeholder('x', { shape: [], dtype: 'f32' });
      const inputs = s.inputs.map((i) => {
        const t = tensor(draw(i, keyOf(1)).data, i.shape, i.dtype);
        return t.dtype === 'f32' ? scaledBy(t, x) : t;
      });
      const [y] = (op as Op).apply(inputs, s.attrs);
      const loss = () => grad(sum(cast(y!, 'f32')), [x]);
      if (!inputs.some((t) => t.dtype === 'f32') || y!.dtype !== 'f32') continue;
      expect(loss, op.name).toThrow(`grad: '${op.name}'`);
      expect(loss, op.name).toThrow(reason);
    }
  });
});
const scaledBy = (t: Tensor, x: Tensor) => {
  const mul = pointwiseRegistry.get('mul')!;
  expect(mul).toBeDefined();
  return registry.get('pointwise')!.apply([t, x], { label: 'mul', expr: mul.expr(...inputsOf(2)) })[0]!;
};
const inputsOf = (n: number) => Array.from({ length: n }, (_, index) => ({ kind: 'input' as const, index }));

describe('errors', () => {
  const samples = [...registry.values()].flatMap((op) =>
    op.errorSamples.map((s, i) => [`${op.name} ${i}`, op, s] as const),
  );
  it.each(samples)('%s', (_, op, s) => {
    const inputs = s.inputs.map((x) => placeholder('x', { shape: x.shape, dtype: x.dtype ?? 'f32' }));
    let error: unknown;
    try {
      (op as Op).apply(inputs, s.attrs);
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(Error);
    const { name, message } = error as Error;
    expect(name).toBe('ShapeError');
    expect(message).toMatchSnapshot();
    const lines = message.split('\n');
    const label = (s.attrs as { label?: string }).label ?? op.name;
    expect(lines[0]).toMatch(new RegExp(`^${label}: expected .+`));
    // What came: the operands by role, or in the first line.
    expect(lines.slice(1, -1).every((l) => /^ {2}[\w ]+: (f32|i32|u8|bool)\[[\d, ]*\]$/.test(l))).toBe(true);
    expect(lines.length > 2 || lines[0]!.includes('got')).toBe(true);
    expect(lines.length).toBeGreaterThan(1);
    expect(lines.at(-1)).toMatch(/^[A-Z].*\.$/);
  });
});

describe('gradients against central differences in f64', () => {
  const list = [...small].filter(([, p]) => p.some(differentiable));
  it.each(list.map(([name]) => name))('%s', async (name) => {
    const op = registry.get(name);
    if (op && typeof op.backward !== 'function') return;
    for (const p of problems.get(name)!) if (differentiable(p)) await checkGradient(p, cases.get(name)!.gradient);
  });
});

/** Per input: a few single elements and one random direction, by Richardson's extrapolation of central differences. */
async function checkGradient(p: Problem, gradient: Case): Promise<void> {
  const cotangents = cotangentsOf(p);
  const specs = new Map([
    ...p.inputs.map((x, k) => [String(k), x] as const),
    ...cotangents.flatMap((c, k) => (c ? [[`c${k}`, c] as const] : [])),
  ]);
  const f = await exactly(specs, (x) => ({
    loss: lossOf(
      p,
      p.inputs.map((_, k) => x[String(k)]!),
      cotangents.map((c, k) => (c ? x[`c${k}`]! : undefined)),
    ),
  }));
  const base = new Map([...specs].map(([name, x]) => [name, Float64Array.from(x.data)]));
  const at = async (k: string, direction: (i: number) => number, h: number) => {
    const moved = new Map(base);
    moved.set(
      k,
      base.get(k)!.map((v, i) => v + h * direction(i)),
    );
    return (await f(moved)).get('loss')!.values[0]!;
  };
  const slope = async (k: string, direction: (i: number) => number) => {
    const h = 1e-4;
    const d = async (step: number) => ((await at(k, direction, step)) - (await at(k, direction, -step))) / (2 * step);
    return (4 * (await d(h / 2)) - (await d(h))) / 3;
  };
  for (const [k, x] of p.inputs.entries()) {
    if (x.dtype !== 'f32' || x.data.length === 0) continue;
    const g = gradient.f64.get(`${p.name} d${k}`)!.values;
    const largest = Math.max(...Array.from(g, Math.abs));
    const key = fold(keyOf(22), `${p.name} ${k}`);
    const few = permutation(key, x.data.length).slice(0, 5);
    for (const i of few) {
      const want = await slope(String(k), (j) => (j === i ? 1 : 0));
      expect(Math.abs(g[i]! - want), `${p.name} d${k}[${i}]: ${g[i]}, slope ${want}`).toBeLessThanOrEqual(
        1e-7 * (largest + 1),
      );
    }
    const direction = (i: number) => 2 * uniformAt(key, i) - 1;
    const want = await slope(String(k), direction);
    let along = 0;
    let size = 0;
    for (let i = 0; i < g.length; i++) {
      along += g[i]! * direction(i);
      size += Math.abs(g[i]! * direction(i));
    }
    expect(Math.abs(along - want), `${p.name} d${k} along a direction`).toBeLessThanOrEqual(1e-7 * (size + 1));
  }
}

const absSum = (a: ArrayLike<number>) => Array.from(a).reduce((s, v) => s + Math.abs(v), 0);

describe('linear ops', () => {
  it.each([...small.keys()].filter((name) => linear.has(name)))('%s: its gradient is its transpose', (name) => {
    const { forward, gradient } = cases.get(name)!;
    for (const p of problems.get(name)!.filter(differentiable)) {
      const cotangents = cotangentsOf(p);
      const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => {
        let s = 0;
        let size = 0;
        for (let i = 0; i < a.length; i++) {
          s += a[i]! * b[i]!;
          size += Math.abs(a[i]! * b[i]!);
        }
        return { s, size };
      };
      for (const on of ['f64', 'one'] as const) {
        const outs = cotangents.flatMap((c, k) => (c ? [dot(c.data, forward[on].get(`${p.name} y${k}`)!.values)] : []));
        const left = outs.reduce((a, b) => a + b.s, 0);
        const floats = p.inputs.map((x, k) => ({ x, k })).filter(({ x }) => x.dtype === 'f32');
        const rights = floats.map(({ x, k }) => dot(x.data, gradient[on].get(`${p.name} d${k}`)!.values));
        // Several operands are either all linear together (concat) or each on its own (a product).
        const together = name === 'concat';
        const sums = together ? [rights.reduce((a, b) => a + b.s, 0)] : rights.map((r) => r.s);
        const size = [...outs, ...rights].reduce((a, b) => a + b.size, 1);
        let allowed = 1e-12 * size;
        if (on === 'one') {
          cotangents.forEach((c, k) => {
            if (c) allowed += forward.bounds.get(`${p.name} y${k}`)! * absSum(c.data);
          });
          for (const { x, k } of floats) allowed += gradient.bounds.get(`${p.name} d${k}`)! * absSum(x.data);
        }
        for (const right of sums) expect(Math.abs(left - right), `${p.name} on ${on}`).toBeLessThanOrEqual(allowed);
      }
    }
  });
});

describe('wasm', () => {
  it.each([...problems.keys()])('%s', (name) => {
    const c = cases.get(name)!;
    for (const pass of passes) expect(withinBounds(c[pass], c[pass].one), pass).toEqual([]);
    if (exact.has(name)) expect(equalBits(c.forward.one, c.forward.f32)).toEqual([]);
    for (const r of c.forward.one.values())
      if (r.dtype !== 'f32') expect(bitDifference(r, c.forward.f64.get(r.name)!)).toBeUndefined();
  });
  it('unfused within the same bounds', async () => {
    expect(await all(async (c) => withinBounds(c, await runOn(narrow, c.batch, { fuse: false })))).toEqual([]);
  });
  it('two threads give the same bits', async () => {
    const device = await wasm.relaxed(2);
    expect(device.runner.threads).toBe(2);
    expect(await all(async (c) => equalBits(await runOn(device, c.batch), c.one))).toEqual([]);
    await device.dispose();
  });
  it('strict SIMD within the same bounds', async () => {
    const device = await wasm.strict();
    expect(device.mode).toMatchObject({ relaxed: false });
    expect(
      await all(async (c, name) => {
        const got = await runOn(device, c.batch);
        return [
          ...withinBounds(c, got),
          ...(exact.has(name) && c === cases.get(name)!.forward ? equalBits(got, c.f32) : []),
        ];
      }),
    ).toEqual([]);
    await device.dispose();
  });
  it('unshared memory, in place: the same bits', async () => {
    const device = await wasm.unshared();
    expect(device.mode.shared).toBe(false);
    expect(await all(async (c) => equalBits(await runOn(device, c.batch), c.one))).toEqual([]);
    await device.dispose();
  });
  // Last: the flag is for the whole process.
  it.runIf(hasWide || process.env.CI !== undefined)('wide mode gives the bits of the narrow one', async () => {
    const device = await wideDevice(2);
    expect(device.mode.wide).toBe(true);
    expect(await all(async (c) => equalBits(await runOn(device, c.batch), c.one))).toEqual([]);
    await device.dispose();
  });
});

/** WGSL lets division and square root be off by a few units in the last place; all else of `exact` holds there too. */
const inexactOnGpu = new Set(['div', 'sqrt']);

describe.runIf(runGpu)('webgpu', () => {
  let gpu: WebGpuDevice;
  let first: ReadonlyMap<Case, ReadonlyMap<string, Result>>;
  beforeAll(async () => {
    gpu = await openGpuDevice();
    const results = new Map<Case, ReadonlyMap<string, Result>>();
    for (const c of cases.values()) for (const pass of passes) results.set(c[pass], await runOn(gpu, c[pass].batch));
    first = results;
  });
  afterAll(() => gpu?.dispose());

  it.each([...problems.keys()])('%s', (name) => {
    const c = cases.get(name)!;
    for (const pass of passes) expect(withinBounds(c[pass], first.get(c[pass])!), pass).toEqual([]);
    const forward = first.get(c.forward)!;
    if (exact.has(name) && !inexactOnGpu.has(name)) expect(equalBits(forward, c.forward.f32)).toEqual([]);
    for (const r of forward.values())
      if (r.dtype !== 'f32') expect(bitDifference(r, c.forward.f64.get(r.name)!)).toBeUndefined();
  });
  it('again: the same bits', async () => {
    expect(await all(async (c) => equalBits(await runOn(gpu, c.batch), first.get(c)!))).toEqual([]);
  });
  it('unfused within the same bounds', async () => {
    expect(await all(async (c) => withinBounds(c, await runOn(gpu, c.batch, { fuse: false })))).toEqual([]);
  });
  it('with no more than every adapter has', async () => {
    const least = await openGpuDevice({ least: true });
    expect(least.limits).toEqual({
      software: false,
      subgroups: false,
      storageBuffers: 8,
      bufferBytes: 2 ** 28,
      operandBytes: 2 ** 27,
    });
    expect(await all(async (c) => withinBounds(c, await runOn(least, c.batch)))).toEqual([]);
    await least.dispose();
  });
});
