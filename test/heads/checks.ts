/**
 * What every margin head is held to: PyTorch's loss and gradients (test/reference/heads.py), central differences where
 * angles are extreme, finite numbers whatever comes in, and state that moves in training only.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import type { Data } from '../../src/core/dtype.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { type Tensor, type TensorSpec, Variable } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { grad } from '../../src/grad.ts';
import type { Head } from '../../src/heads/head.ts';
import { createLoss } from '../../src/heads/index.ts';
import { initialize, Parameter, parametersOf, type StateBuffer, variablesOf } from '../../src/nn/module.ts';
import { rewrite } from '../../src/plan/rewrite.ts';
import type { TraceContext } from '../../src/plan/trace.ts';
import { wasm } from '../ops/harness.ts';

type Numbers = ArrayLike<number>;
interface Golden {
  readonly name: string;
  readonly head: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly xScale: number;
  readonly centres: number;
  readonly state: Readonly<Record<string, number>>;
  readonly after: Readonly<Record<string, number>>;
  readonly outputs: Readonly<Record<string, { readonly drift: number; readonly f64: readonly number[] }>>;
}
const file = JSON.parse(readFileSync(new URL('../reference/heads.json', import.meta.url), 'utf8')) as {
  labels: number[];
  cases: Golden[];
};
export const goldensOf = (head: string): Golden[] => file.cases.filter((c) => c.head === head);

const last = (v: Variable) => v.name.slice(v.name.lastIndexOf('.') + 1);
const stateOf = (head: Head) => variablesOf(head).filter((v): v is StateBuffer => !(v instanceof Parameter));
export function setState(head: Head, state: Readonly<Record<string, number>>): void {
  const buffers = stateOf(head);
  expect(buffers.map(last).sort()).toEqual(Object.keys(state).sort());
  for (const v of buffers) v.write(Float32Array.of(state[last(v)]!));
}

/** Loss, facts and gradients of a head with its parameters as inputs: what both devices run. */
function build(head: Head, inputs: Readonly<Record<string, Tensor>>, ctx: TraceContext): Record<string, Tensor> {
  const results = Object.entries(head.loss(inputs.x!, inputs.labels!, ctx)) as [string, Tensor][];
  const parameters = parametersOf(head);
  const given = new Map(parameters.map((p) => [p.tensor.id, inputs[last(p)]!]));
  const assigned = [...ctx.assigns];
  const replaced = rewrite([...results.map(([, t]) => t), ...assigned.map(([, t]) => t)], given);
  assigned.forEach(([v], i) => {
    ctx.assigns.set(v, replaced[results.length + i]!);
  });
  const outputs = Object.fromEntries(results.map(([name], i) => [name, replaced[i]!]));
  const names = ['x', ...parameters.map(last)];
  const gradients = grad(
    outputs.loss!,
    names.map((n) => inputs[n]!),
  );
  return { ...outputs, ...Object.fromEntries(names.map((n, i) => [`d${n}`, gradients[i]!])) };
}

const specsOf = (head: Head, batch: number): Record<string, TensorSpec> => ({
  x: { shape: [batch, head.weight.shape[1]!], dtype: 'f32' },
  labels: { shape: [batch], dtype: 'i32' },
  ...Object.fromEntries(parametersOf(head).map((p) => [last(p), { shape: p.shape, dtype: 'f32' as const }])),
});

/** A head as a function of f64 numbers on the reference device. State is moved on `device` where training. */
export async function exactHead(head: Head, batch: number, training: boolean) {
  const device = new ReferenceDevice();
  const results = new Map<string, Variable>();
  const plan = await compile(
    (inputs, ctx) => {
      for (const [name, y] of Object.entries(build(head, inputs, ctx))) {
        const v = new Variable(name, new Float32Array(y.size), y.shape);
        results.set(name, v);
        ctx.assign(v, y);
      }
      return undefined;
    },
    { device, training },
  ).plan(specsOf(head, batch));
  const run = async (inputs: Readonly<Record<string, Numbers>>): Promise<Record<string, Float64Array>> => {
    await plan.run(new Map(Object.entries(inputs)) as unknown as ReadonlyMap<string, Data>);
    return Object.fromEntries([...results].map(([name, v]) => [name, Float64Array.from(device.exact(v))]));
  };
  return { run, device };
}

/** The same on the WASM device, in f32. */
export async function wasmHead(
  head: Head,
  inputs: Readonly<Record<string, Numbers>>,
  training: boolean,
): Promise<{ readonly results: Record<string, Numbers>; readonly state: Record<string, number> }> {
  const device = await wasm.relaxed(1);
  try {
    const specs = specsOf(head, inputs.labels!.length);
    const f = compile((t, ctx) => build(head, t, ctx), { device, training });
    const out = await f(
      Object.fromEntries(
        Object.entries(specs).map(([name, { shape, dtype }]) => [
          name,
          { shape, dtype, data: dtype === 'i32' ? Int32Array.from(inputs[name]!) : Float32Array.from(inputs[name]!) },
        ]),
      ),
    );
    const state: Record<string, number> = {};
    for (const v of stateOf(head)) state[last(v)] = Number((await v.read())[0]);
    return { results: Object.fromEntries(Object.entries(out).map(([n, y]) => [n, y.data])), state };
  } finally {
    await device.dispose();
  }
}

const key = fold(keyOf(2027), 'heads');
const [rows, dim, classes] = [8, 6, 7];

/** The problem of heads.py. */
function goldenInputs(c: Golden): Record<string, Numbers> {
  const weight = normal(fold(key, 'weight'), classes * c.centres * dim);
  const x = normal(fold(key, 'x'), rows * dim);
  for (const [row, sign] of [
    [0, -1],
    [1, 1],
  ] as const)
    for (let i = 0; i < dim; i++) {
      const centre = weight[file.labels[row]! * c.centres * dim + i]!;
      x[row * dim + i] = Math.fround(0.0625 * x[row * dim + i]!) + sign * centre;
    }
  const inputs: Record<string, Numbers> = { x: x.map((v) => v * c.xScale), labels: file.labels, weight };
  if (c.outputs.dbias) inputs.bias = normal(fold(key, 'bias'), classes);
  return inputs;
}

type Given = Readonly<Record<string, unknown>>;
export interface HeadCheck {
  /** Name in the registry. */
  readonly head: string;
  /** Options of the gradient checks with small scales, and the state that goes with them. */
  readonly gradients: readonly { readonly options: Given; readonly state?: Readonly<Record<string, number>> }[];
  /** Options whose gradient is not the slope of the loss by intention: it has to be finite. */
  readonly detached?: readonly Given[];
  /** Factor on the lengths of the gradient check's embeddings. Default 1. */
  readonly length?: number;
  readonly centres?: number;
  /** How often the gradient check's vectors of 3 numbers stand side by side. Default 1. */
  readonly slices?: number;
  /** The loss takes the embeddings' lengths as constants. */
  readonly detachedLength?: boolean;
  /** Options that must be refused, and what the message says. */
  readonly refused: readonly (readonly [Readonly<Record<string, unknown>>, RegExp])[];
}

/**
 * Embeddings at chosen angles to their centres: exactly 0, exactly π, where θ + m is above π, just below, small, and
 * medium.
 */
function extremeInputs(length: number, centres: number, slices: number): Record<string, Numbers> {
  const axes = [
    [1, 0, 0],
    [0, 2, 0],
    [0, 0, 1.5],
    [0.5, -0.7, 0.3],
  ];
  const wide = (row: number[]) => Array.from({ length: slices }, () => row).flat();
  const noise = normal(fold(keyOf(5), 'centres'), 4 * centres * 3);
  const weight = axes.flatMap((axis, c) =>
    Array.from({ length: centres }, (_, k) =>
      wide(axis.map((v, i) => (k ? noise[(c * centres + k) * 3 + i]! : v))),
    ).flat(),
  );
  const at = (angle: number) => [1.2 * Math.sin(angle), 0, 1.2 * Math.cos(angle)];
  const x = [[3, 0, 0], [0, -1, 0], at(Math.PI - 0.15), at(Math.PI - 0.7), at(0.1), at(1.3)];
  return { x: x.flatMap(wide).map((v) => v * length), labels: [0, 1, 2, 2, 2, 2], weight };
}

export function checkHead(check: HeadCheck): void {
  const { head: name, length = 1, centres = 1, slices = 1 } = check;
  const width = 3 * slices;
  const make = (size: { classes: number; embeddingSize: number }, options: Given) =>
    createLoss(name, size, options) as Head;

  describe(`${name} against PyTorch`, () => {
    it.each(goldensOf(name).map((c) => [c.name, c] as const))('%s', async (_, c) => {
      const inputs = goldenInputs(c);
      const head = make({ classes, embeddingSize: dim }, c.options);
      setState(head, c.state);
      const { run, device } = await exactHead(head, rows, true);
      const exact = await run(inputs);
      for (const [output, { f64 }] of Object.entries(c.outputs)) {
        const bound = 1e-9 * (1 + Math.max(...f64.map(Math.abs)));
        expect(exact[output]!.length, output).toBe(f64.length);
        f64.forEach((v, i) => {
          expect(Math.abs(exact[output]![i]! - v), `f64 ${output}[${i}]`).toBeLessThanOrEqual(bound);
        });
      }
      for (const v of stateOf(head))
        expect(Math.abs(device.exact(v)[0]! - c.after[last(v)]!), v.name).toBeLessThan(1e-9 * (1 + c.after[last(v)]!));

      const other = make({ classes, embeddingSize: dim }, c.options);
      setState(other, c.state);
      const got = await wasmHead(other, inputs, true);
      for (const [output, { f64, drift }] of Object.entries(c.outputs)) {
        const bound = 4 * drift + 2 ** -23 * Math.max(...f64.map(Math.abs));
        f64.forEach((v, i) => {
          expect(Math.abs(got.results[output]![i]! - v), `f32 ${output}[${i}]`).toBeLessThanOrEqual(bound);
        });
      }
      for (const [n, v] of Object.entries(c.after)) expect(got.state[n], n).toBeCloseTo(v, 4);
    });
    it('has goldens', () => {
      expect(goldensOf(name).length).toBeGreaterThan(0);
    });
  });

  describe(`${name}'s gradient`, () => {
    it.each(check.gradients.map((g) => [JSON.stringify(g.options), g] as const))(
      'is the slope of the loss at extreme angles too: %s',
      async (_, { options, state }) => {
        const head = make({ classes: 4, embeddingSize: width }, options);
        const inputs = extremeInputs(length, centres, slices);
        if (variablesOf(head).some((v) => v.name.endsWith('.bias'))) inputs.bias = [0.1, -0.2, 0.3, 0];
        if (state) setState(head, state);
        const { run } = await exactHead(head, 6, false);
        const at = await run(inputs);
        for (const wrt of ['x', ...parametersOf(head).map(last)]) {
          const g = at[`d${wrt}`]!;
          const scale = 1 + Math.max(...g.map(Math.abs));
          const step = wrt === 'x' ? 1e-5 * length : 1e-5;
          for (let i = 0; i < g.length; i++) {
            const direction = new Float64Array(g.length);
            direction[i] = 1;
            if (check.detachedLength && wrt === 'x') withoutLength(direction, inputs.x!, i);
            const moved = async (by: number) => {
              const values = Float64Array.from(inputs[wrt]!, (v, k) => v + by * direction[k]!);
              return (await run({ ...inputs, [wrt]: values })).loss![0]!;
            };
            const slope = ((await moved(step)) - (await moved(-step))) / (2 * step);
            const claimed = g.reduce((s, v, k) => s + v * direction[k]!, 0);
            expect(Math.abs(slope - claimed), `d${wrt}[${i}]: ${claimed}, slope ${slope}`).toBeLessThan(1e-7 * scale);
          }
        }
      },
    );
  });

  describe(name, () => {
    const first = check.gradients[0]!;
    const fresh = (c: number, d: number, options = first.options) =>
      initialize(make({ classes: c, embeddingSize: d }, options), 3);

    it.each([first.options, ...(check.detached ?? [])])(
      'stays finite for embeddings and centres of any length: %j',
      async (options) => {
        for (const [batch, scale] of [
          [6, 0],
          [6, 1e-20],
          [6, 1e4],
          [1, 1],
        ] as const) {
          const head = fresh(4, width, options);
          const all = extremeInputs(scale, centres, slices);
          const weight = Array.from(all.weight!, (v, i) => (i < width * centres ? 0 : v));
          const inputs = {
            x: Array.from(all.x!).slice(0, width * batch),
            labels: Array.from(all.labels!).slice(0, batch),
          };
          const got = await wasmHead(head, { ...inputs, weight, bias: [0, 0, 0, 0] }, true);
          const bad = Object.entries({ ...got.results, state: Object.values(got.state) }).flatMap(([n, v]) =>
            Array.from(v).some((y) => !Number.isFinite(y)) ? [`${n} at ${scale}: ${Array.from(v)}`] : [],
          );
          expect(bad).toEqual([]);
        }
      },
    );

    it('reports own cosines and hits, and moves its state in training only', async () => {
      const head = fresh(4, width);
      const inputs = { ...extremeInputs(length, centres, slices), bias: [0, 0, 0, 0] };
      const before = Object.fromEntries(stateOf(head).map((v) => [last(v), v.host[0]]));
      const got = await wasmHead(head, inputs, false);
      expect(got.state).toEqual(before);
      const cosines = got.results.targetCos!;
      expect(cosines[0]).toBeCloseTo(1, 6);
      expect(cosines[4]).toBeCloseTo(Math.cos(0.1), 5);
      const found = got.results.hits!;
      expect([found[0], found[4]]).toEqual([1, 1]);
      if (centres === 1) {
        expect(cosines[1]).toBeCloseTo(-1, 6);
        expect([found[1], found[2]]).toEqual([0, 0]);
      }
    });

    it('names its variables in checkpoints', () => {
      const names = variablesOf(fresh(4, width)).map((v) => v.name);
      expect(new Set(names).size).toBe(names.length);
      expect(names).toContain(`${name}.weight`);
      for (const n of names) expect(n.startsWith(`${name}.`)).toBe(true);
    });

    it('refuses options that make no sense', () => {
      const common: readonly (readonly [object, RegExp])[] = [
        [{ classes: 1 }, /classes expected a whole number of at least 2, got 1\n/],
        [{ classes: 2.5 }, /classes expected a whole number of at least 2, got 2.5\n/],
        [{ embeddingSize: 0 }, /embeddingSize expected a whole number of at least 1, got 0\n/],
        [{ centre: 1 }, /expected options among .*, got 'centre'/],
      ];
      for (const [options, message] of [...common, ...check.refused]) {
        const made = () => make({ classes: 9, embeddingSize: 4 }, options as Given);
        expect(made, JSON.stringify(options)).toThrow(message);
        expect(made).toThrow(new RegExp(`^${name}: `));
      }
      expect(() => (fresh(4, width) as unknown as { forward(): void }).forward()).toThrow(
        /loss\(embeddings, labels, ctx\)/,
      );
    });
  });
}

/** Makes unit direction i orthogonal to its row of x, so that to first order the row keeps its length. */
function withoutLength(direction: Float64Array, x: Numbers, i: number): void {
  const from = 3 * Math.floor(i / 3);
  const row = Array.from(x).slice(from, from + 3);
  const along = row[i - from]! / row.reduce((s, v) => s + v * v, 0);
  for (let k = 0; k < 3; k++) direction[from + k]! -= along * row[k]!;
}
