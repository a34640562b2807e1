/**
 * What the generated op tests share: problems drawn from the records' samples, their f64 truth and the plain f32 loop on
 * the reference device, and devices of most modes. It runs in a page too; wide mode, which is Node's, is in wide.ts.
 *
 * A bound is derived: the error against f64 is at most four times that of the f32 loop on the same data, plus one unit in
 * the last place of the largest number. The f32 loop also runs on the same numbers in other orders, and its largest error
 * counts: a sum of a single result may come out right by luck.
 */
import { compile } from '../../src/compile.ts';
import { type Data, type DType, hostArray } from '../../src/core/dtype.ts';
import { fold, type Key, keyOf, permutation, uniformAt } from '../../src/core/random.ts';
import { sizeOf } from '../../src/core/shape.ts';
import { type HostTensor, host, type Tensor, type TensorSpec, Variable } from '../../src/core/tensor.ts';
import type { CompileOptions, Device } from '../../src/device/device.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import * as E from '../../src/expr/nodes.ts';
import { grad } from '../../src/grad.ts';
import { type Op, registry, type Sample, type SampleInput } from '../../src/ops/define.ts';
import { elementwise, mul, sum } from '../../src/ops/index.ts';
import { pointwiseRegistry } from '../../src/ops/pointwise.ts';
import { trace } from '../../src/plan/trace.ts';

/** A function of tensors with the data to try it on. */
export interface Problem {
  readonly name: string;
  readonly inputs: readonly HostTensor[];
  build(inputs: readonly Tensor[]): readonly Tensor[];
  /** Why its gradient is not checked. */
  readonly noGradient?: string;
}

const defaultRange: Record<DType, readonly [number, number]> = {
  f32: [-1, 1],
  i32: [0, 8],
  u8: [0, 256],
  bool: [0, 2],
};

/** The numbers of a sample input. */
export function draw(spec: SampleInput, key: Key): HostTensor {
  const { shape, dtype = 'f32', range = defaultRange[dtype], values, distinct } = spec;
  const n = sizeOf(shape);
  const data = hostArray(dtype, n);
  if (values) data.set(values);
  else if (distinct) {
    // A shuffled ladder whose steps are 4/3 of the gap, shaken by a quarter of a step.
    const order = permutation(key, n);
    for (let i = 0; i < n; i++) data[i] = (order[i]! - n / 2 + uniformAt(key, i) / 4) * distinct * (4 / 3);
  } else
    for (let i = 0; i < n; i++) {
      const v = range[0] + (range[1] - range[0]) * uniformAt(key, i);
      data[i] = dtype === 'f32' ? v : Math.floor(v);
    }
  return host(data, shape, dtype);
}

const problemOf = (
  name: string,
  i: number,
  s: Sample<unknown>,
  apply: (inputs: readonly Tensor[]) => readonly Tensor[],
): Problem => ({
  name: `${name}.${i}`,
  inputs: s.inputs.map((x, k) => draw(x, fold(fold(keyOf(20), `${name}.${i}`), k))),
  build: apply,
  ...(s.noGradient ? { noGradient: s.noGradient } : {}),
});

/** The problems of every record and of every named pointwise operation, by name. */
export function recordProblems(): Map<string, Problem[]> {
  const out = new Map<string, Problem[]>();
  for (const op of registry.values())
    if (op.samples.length)
      out.set(
        op.name,
        op.samples.map((s, i) => problemOf(op.name, i, s, (inputs) => (op as Op).apply(inputs, s.attrs))),
      );
  for (const p of pointwiseRegistry.values())
    out.set(
      p.name,
      p.samples.map((s, i) =>
        problemOf(p.name, i, s, (inputs) => [
          elementwise(p.name, p.expr(...inputs.map((t, k) => E.input(k, t.dtype === 'bool'))), inputs),
        ]),
      ),
    );
  return out;
}

/** One named result of a problem: an output, or the gradient of an input. */
export interface Result {
  readonly name: string;
  readonly dtype: DType;
  readonly values: ArrayLike<number>;
}

/** Several problems as one function of named inputs, so that one plan runs them all. */
export interface Batch {
  readonly inputs: ReadonlyMap<string, HostTensor>;
  build(inputs: Readonly<Record<string, Tensor>>): Record<string, Tensor>;
}

const cotangent = (name: string, spec: TensorSpec, k: number) =>
  draw({ shape: spec.shape }, fold(keyOf(21), `${name} ${k}`));

export const forwardBatch = (problems: readonly Problem[]): Batch => ({
  inputs: new Map(problems.flatMap((p) => p.inputs.map((x, k) => [`${p.name}/${k}`, x] as const))),
  build: (inputs) =>
    Object.fromEntries(
      problems.flatMap((p) =>
        p.build(p.inputs.map((_, k) => inputs[`${p.name}/${k}`]!)).map((y, k) => [`${p.name} y${k}`, y]),
      ),
    ),
});

/** Output specs of a problem, from a trace. */
function outputsOf(p: Problem): readonly TensorSpec[] {
  const graph = trace(
    (x) => Object.fromEntries(p.build(p.inputs.map((_, k) => x[String(k)]!)).map((y, k) => [k, y])),
    Object.fromEntries(p.inputs.map((x, k) => [String(k), x])),
    false,
  );
  return [...graph.outputs.values()];
}

/** Σ output · cotangent over the float outputs, and the inputs it is differentiated by. */
export function lossOf(p: Problem, inputs: readonly Tensor[], cotangents: readonly (Tensor | undefined)[]): Tensor {
  const parts = p.build(inputs).flatMap((y, k) => (cotangents[k] ? [sum(mul(y, cotangents[k]))] : []));
  return parts.reduce((a, b) => elementwise('add', E.add(E.input(0), E.input(1)), [a, b]));
}
export const differentiable = (p: Problem): boolean =>
  !p.noGradient && p.inputs.some((x) => x.dtype === 'f32') && outputsOf(p).some((y) => y.dtype === 'f32');

export function cotangentsOf(p: Problem): (HostTensor | undefined)[] {
  return outputsOf(p).map((y, k) => (y.dtype === 'f32' ? cotangent(p.name, y, k) : undefined));
}

/** Gradients of every float input under random cotangents. */
export function gradientBatch(problems: readonly Problem[]): Batch {
  const list = problems.filter(differentiable).map((p) => ({ p, cotangents: cotangentsOf(p) }));
  return {
    inputs: new Map(
      list.flatMap(({ p, cotangents }) => [
        ...p.inputs.map((x, k) => [`${p.name}/${k}`, x] as const),
        ...cotangents.flatMap((c, k) => (c ? [[`${p.name}/c${k}`, c] as const] : [])),
      ]),
    ),
    build: (inputs) =>
      Object.fromEntries(
        list.flatMap(({ p, cotangents }) => {
          const x = p.inputs.map((_, k) => inputs[`${p.name}/${k}`]!);
          const loss = lossOf(
            p,
            x,
            cotangents.map((c, k) => (c ? inputs[`${p.name}/c${k}`]! : undefined)),
          );
          const wrt = x.map((t, k) => ({ t, k })).filter(({ t }) => t.dtype === 'f32');
          return grad(
            loss,
            wrt.map(({ t }) => t),
          ).map((g, i) => [`${p.name} d${wrt[i]!.k}`, g]);
        }),
      ),
  };
}

/** A function of f64 inputs with f64 results, on the reference device; traced once. */
export async function exactly(
  specs: ReadonlyMap<string, TensorSpec>,
  build: Batch['build'],
  round?: (x: number) => number,
): Promise<(inputs: ReadonlyMap<string, ArrayLike<number>>) => Promise<Map<string, Result>>> {
  const device = new ReferenceDevice(round);
  const results = new Map<string, Variable>();
  // Host arrays would round the results; variables of the device do not.
  const graph = trace(
    (inputs, ctx) => {
      for (const [name, y] of Object.entries(build(inputs))) {
        const v = new Variable(name, hostArray(y.dtype, y.size), y.shape, y.dtype);
        results.set(name, v);
        ctx.assign(v, y);
      }
      return undefined;
    },
    Object.fromEntries([...specs].map(([name, { shape, dtype }]) => [name, { shape, dtype }])),
    false,
  );
  const plan = await device.compile(graph);
  return async (inputs) => {
    await plan.run(inputs as ReadonlyMap<string, Data>);
    return new Map([...results].map(([name, v]) => [name, { name, dtype: v.dtype, values: device.exact(v) }]));
  };
}

export const dataOf = (inputs: ReadonlyMap<string, HostTensor>) =>
  new Map([...inputs].map(([name, x]) => [name, x.data] as const));

export interface Truth {
  readonly f64: ReadonlyMap<string, Result>;
  /** The plain f32 loop. */
  readonly f32: ReadonlyMap<string, Result>;
  /** Largest error against f64 that is allowed, by result. */
  readonly bounds: ReadonlyMap<string, number>;
}

const rotate = (x: Data, by: number): Data => {
  const out = x.slice();
  for (let i = 0; i < x.length; i++) out[i] = x[(i + by) % x.length]!;
  return out;
};
const orders: readonly ((x: Data) => Data)[] = [
  (x) => x,
  (x) => x.slice().reverse(),
  (x) => rotate(x, Math.ceil(x.length / 3)),
];

/** The f64 truth of a batch, the plain f32 loop, and the bounds they give. */
export async function truthOf(b: Batch): Promise<Truth> {
  const [f, g] = [await exactly(b.inputs, b.build), await exactly(b.inputs, b.build, Math.fround)];
  const bounds = new Map<string, number>();
  let own: Pick<Truth, 'f64' | 'f32'> | undefined;
  for (const order of orders) {
    const data = new Map([...b.inputs].map(([name, x]) => [name, order(x.data)] as const));
    const [f64, f32] = [await f(data), await g(data)];
    own ??= { f64, f32 };
    for (const [name, t] of f64) {
      let error = 0;
      let scale = 0;
      for (let i = 0; i < t.values.length; i++) {
        const [x, y] = [t.values[i]!, f32.get(name)!.values[i]!];
        if (!Number.isFinite(x) || !Number.isFinite(y)) continue;
        error = Math.max(error, Math.abs(x - y));
        scale = Math.max(scale, Math.abs(x));
      }
      bounds.set(name, Math.max(bounds.get(name) ?? 0, 4 * error + 2 ** -23 * scale));
    }
  }
  return { ...own!, bounds };
}

/** The results of a batch on a device. */
export async function runOn(device: Device, b: Batch, options: CompileOptions = {}): Promise<Map<string, Result>> {
  const f = compile((inputs) => b.build(inputs), { device, ...options });
  const out = await f(Object.fromEntries(b.inputs));
  f.dispose();
  return new Map(Object.entries(out).map(([name, y]) => [name, { name, dtype: y.dtype, values: y.data }]));
}

/**
 * WebGPU's exp, log, pow and so on are within 3 units in the last place (test/kernels/math.test.ts), where the f32 loop's
 * are within half a unit: six times its error in place of four.
 */
export const gpuFactor = 6 / 4;

/** What is wrong with a result, in words; undefined where it is within `factor` times the bound. */
export function outOfBound(got: Result, truth: Truth, factor = 1): string | undefined {
  const want = truth.f64.get(got.name)!.values;
  const bound = factor * truth.bounds.get(got.name)!;
  if (got.values.length !== want.length) return `${got.name}: ${got.values.length} of ${want.length} numbers`;
  for (let i = 0; i < want.length; i++) {
    const [a, t] = [got.values[i]!, want[i]!];
    // Not "greater than": NaN must fail where the truth is a number.
    if (Number.isFinite(t) ? !(Math.abs(a - t) <= bound) : !Object.is(a, t))
      return `${got.name}[${i}] of ${want.length}: ${a}, truth ${t}, error ${Math.abs(a - t)}, bound ${bound}`;
  }
  return undefined;
}

/** The first element in which two results differ by a bit (all NaNs count as equal). */
export function bitDifference(got: Result, want: Result): string | undefined {
  const f32 = (x: number) => (want.dtype === 'f32' ? Math.fround(x) : x);
  for (let i = 0; i < Math.max(got.values.length, want.values.length); i++)
    if (!Object.is(got.values[i], f32(want.values[i]!)))
      return `${got.name}[${i}] of ${want.values.length}: ${got.values[i]} instead of ${f32(want.values[i]!)}`;
  return undefined;
}

/** Every complaint of `check` over results by name. */
export function complaints(results: ReadonlyMap<string, Result>, check: (r: Result) => string | undefined): string[] {
  return [...results.values()].flatMap((r) => check(r) ?? []);
}

export const wasm = {
  relaxed: (threads: number) => WasmDevice.create({ threads, wide: false }),
  strict: () => WasmDevice.create({ threads: 1, relaxed: false }),
  unshared: () => WasmDevice.create({ shared: false, wide: false }),
};
