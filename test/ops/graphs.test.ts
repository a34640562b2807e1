/**
 * Random graphs: what the plan makes of them (merged, inlined, joined and fused kernels) against every op on its own and
 * against the reference device.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import { type HostTensor, host, type Tensor, Variable } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import type { WasmDevice } from '../../src/device/wasm.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { grad } from '../../src/grad.ts';
import { mul, sum } from '../../src/ops/index.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { type Batch, draw, gpuFactor, outOfBound, type Result, runOn, truthOf, wasm } from './harness.ts';
import { interpret, leafShapes, type Step, steps } from './programs.ts';

/** FUZZ_RUNS=1000 tries that many graphs drawn anew; without it the draws are the same every time. */
const runs = Number(process.env.FUZZ_RUNS ?? 0);
const parameters = (numRuns: number) => (runs ? { numRuns: runs } : { numRuns, seed: 20 });
const timeoutMs = 180_000 + 1000 * runs;

let one: WasmDevice;
let two: WasmDevice;
/** Where there is one; under CI there must be. */
let gpu: WebGpuDevice | undefined;
beforeAll(async () => {
  if (runGpu) gpu = await openGpuDevice();
  one = await wasm.relaxed(1);
  two = await wasm.relaxed(2);
});
afterAll(async () => {
  await one.dispose();
  await two.dispose();
  await gpu?.dispose();
});

/** Leaves by name: a choice of shapes, the same for every program. */
const leaves = (range: readonly [number, number], whole: boolean): Map<string, HostTensor> =>
  new Map(
    leafShapes.map((shape, i) => {
      const x = draw({ shape, range }, fold(keyOf(31), i));
      return [`x${i}`, whole ? host(x.data.map(Math.floor) as Float32Array, shape) : x] as const;
    }),
  );
const leafNames = leafShapes.map((_, i) => `x${i}`);
const used = (names: readonly number[]) => names.map((n) => leafNames[n % leafNames.length]!);

/** Equal but for the sign of zeros. */
const equal = (got: ReadonlyMap<string, Result>, want: ReadonlyMap<string, Result>): void => {
  for (const [name, w] of want) {
    const g = got.get(name)!;
    for (let i = 0; i < w.values.length; i++)
      if (g.values[i] !== w.values[i] && !(Number.isNaN(g.values[i]) && Number.isNaN(w.values[i])))
        expect.fail(`${name}[${i}] of ${w.values.length}: ${g.values[i]} instead of ${w.values[i]}`);
  }
};

/** Some of the program's values as outputs, the last one always. */
const chosen = (values: readonly Tensor[], mask: number) =>
  Object.fromEntries(
    values.flatMap((t, i) => (i === values.length - 1 || (mask >> (i % 16)) & 1 ? [[`v${i}`, t] as const] : [])),
  );

const program = (maxLength: number) =>
  fc.record({
    leaves: fc.array(fc.nat(99), { minLength: 1, maxLength: 3 }),
    steps: steps(maxLength),
    mask: fc.nat(0xffff),
  });
interface Program {
  readonly leaves: readonly number[];
  readonly steps: readonly Step[];
  readonly mask: number;
}

describe('random graphs', () => {
  it(
    'of whole numbers give the same numbers fused, unfused, on two threads and in f64',
    async () => {
      const inputs = leaves([-9, 10], true);
      const check = async (p: Program) => {
        const names = used(p.leaves);
        const batch: Batch = {
          inputs: new Map(names.map((n) => [n, inputs.get(n)!])),
          build: (x) =>
            chosen(
              interpret(
                'integer',
                p.steps,
                names.map((n) => x[n]!),
              ),
              p.mask,
            ),
        };
        const { f64 } = await truthOf(batch);
        equal(await runOn(one, batch), f64);
        equal(await runOn(one, batch, { fuse: false }), f64);
        equal(await runOn(two, batch), f64);
        if (gpu) equal(await runOn(gpu, batch), f64);
      };
      await fc.assert(fc.asyncProperty(program(16), check), parameters(150));
    },
    timeoutMs,
  );

  it(
    'of smooth functions, with gradients: fused and unfused agree to the bit, both within the bounds',
    async () => {
      const inputs = leaves([-1, 1], false);
      const check = async (p: Program) => {
        const names = [...new Set(used(p.leaves))];
        const batch: Batch = {
          inputs: new Map(names.map((n) => [n, inputs.get(n)!])),
          build(x) {
            const values = interpret(
              'smooth',
              p.steps,
              names.map((n) => x[n]!),
            );
            const loss = sum(mul(values.at(-1)!, values.at(-1)!));
            const g = grad(
              loss,
              names.map((n) => x[n]!),
            );
            return { ...chosen(values, p.mask & 0x1111), ...Object.fromEntries(names.map((n, i) => [`d${n}`, g[i]!])) };
          },
        };
        const truth = await truthOf(batch);
        const fused = await runOn(one, batch);
        for (const r of fused.values()) expect(outOfBound(r, truth)).toBeUndefined();
        equal(await runOn(one, batch, { fuse: false }), fused);
        equal(await runOn(two, batch), fused);
        if (gpu)
          for (const r of (await runOn(gpu, batch)).values()) expect(outOfBound(r, truth, gpuFactor)).toBeUndefined();
      };
      await fc.assert(fc.asyncProperty(program(10), check), parameters(100));
    },
    timeoutMs,
  );

  it(
    'that change variables: every read sees the old value, on every device alike',
    async () => {
      const shape = [3, 17];
      const count = 4;
      const assignment = fc.record({
        steps: steps(10),
        targets: fc.array(fc.nat(99), { minLength: count, maxLength: count }),
        outputs: fc.array(fc.nat(99), { maxLength: 3 }),
        fuse: fc.boolean(),
      });
      const check = async (p: {
        steps: readonly Step[];
        targets: readonly number[];
        outputs: readonly number[];
        fuse: boolean;
      }) => {
        const make = () =>
          Array.from({ length: count }, (_, i) => {
            const x = draw({ shape, range: [-9, 10] }, fold(keyOf(32), i));
            return new Variable(`v${i}`, x.data.map(Math.floor) as Float32Array, shape);
          });
        const step = (variables: readonly Variable[]) =>
          [
            (inputs: Readonly<Record<string, Tensor>>, ctx: { assign(v: Variable, t: Tensor): void }) => {
              const values = interpret('integer', p.steps, [...variables.map((v) => v.tensor), inputs.x!]);
              const fits = values.filter(
                (t) => t.shape.length === 2 && t.size === 51 && t.shape[0] === 3 && t.dtype === 'f32',
              );
              // One variable in five keeps its value; others take any value of their shape, each other's among them.
              variables.forEach((v, i) => {
                if (p.targets[i]! % 5) ctx.assign(v, fits[p.targets[i]! % fits.length]!);
              });
              return Object.fromEntries(p.outputs.map((n, i) => [`y${i}`, values[n % values.length]!]));
            },
          ] as const;
        const results: Float32Array[][] = [];
        for (const device of [new ReferenceDevice(), one, two, ...(gpu ? [gpu] : [])]) {
          const variables = make();
          const f = compile(step(variables)[0], { device, fuse: p.fuse });
          const seen: Float32Array[] = [];
          for (let run = 0; run < 3; run++) {
            const out = await f({ x: run - 1 });
            for (const y of Object.values(out)) seen.push(y.data as Float32Array);
            for (const v of variables) seen.push((await v.read()).slice() as Float32Array);
          }
          results.push(seen);
          f.dispose();
          for (const v of variables) v.dispose();
        }
        const plain = (list: Float32Array[]) => list.map((d) => Array.from(d, (x) => x + 0));
        for (const r of results.slice(1)) expect(plain(r)).toEqual(plain(results[0]!));
      };
      await fc.assert(fc.asyncProperty(assignment, check), parameters(100));
    },
    timeoutMs,
  );
});
