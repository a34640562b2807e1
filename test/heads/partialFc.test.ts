/** Partial FC (src/heads/partialFc.ts): the sample, and the loss of a head over it. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { type HostTensor, host, type Tensor } from '../../src/core/tensor.ts';
import { grad } from '../../src/grad.ts';
import type { Head } from '../../src/heads/head.ts';
import { createLoss, losses } from '../../src/heads/index.ts';
import { sampleClasses, sampleSize } from '../../src/heads/partialFc.ts';
import { initialize } from '../../src/nn/module.ts';
import { keyData, TraceContext } from '../../src/plan/trace.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import {
  type Batch,
  bitDifference,
  complaints,
  dataOf,
  exactly,
  gpuFactor,
  outOfBound,
  runOn,
  truthOf,
  wasm,
} from '../ops/harness.ts';

const [rows, dim, classes] = [6, 4, 23];
const seed = fold(keyOf(11), 'sample');
const labels = [3, 22, 3, 0, 17, 9];
const inputs: ReadonlyMap<string, HostTensor> = new Map([
  ['x', host(normal(fold(seed, 'x'), rows * dim), [rows, dim])],
  ['labels', host(Int32Array.from(labels), [rows])],
  ['key', host(keyData(seed, 5), [2])],
]);
const make = (name: string, sampleRate: number, options = {}) =>
  initialize(createLoss(name, { classes, embeddingSize: dim }, { ...options, sampleRate }) as Head, 3);

/** Loss and gradients of a training pass. */
const passOf = (head: Head): Batch => ({
  inputs,
  build({ x, labels: y, key }) {
    const { loss, hits } = head.loss(x!, y!, new TraceContext(true, key!));
    const [dx, dw] = grad(loss, [x!, head.weight.tensor]);
    return { loss, ...(hits && { hits }), dx: dx!, dw: dw! };
  },
});
const exact = async (b: Batch) => (await exactly(b.inputs, b.build))(dataOf(b.inputs));
const sampleOf = (k: number): Batch => ({
  inputs,
  build: ({ labels: y, key }: Readonly<Record<string, Tensor>>) => ({ ...sampleClasses(y!, classes, k, key!) }),
});

describe('the sample', () => {
  it.each([5, 6, 12, 23])('of %i classes: distinct, with the batch, the same on both devices', async (k) => {
    const out = await exact(sampleOf(k));
    const chosen = Array.from(out.get('classes')!.values);
    expect(new Set(chosen).size).toBe(k);
    expect(chosen.every((c) => Number.isInteger(c) && c >= 0 && c < classes)).toBe(true);
    expect(Array.from(out.get('labels')!.values, (place) => chosen[place])).toEqual(labels);
    const device = await wasm.relaxed(2);
    const got = await runOn(device, sampleOf(k));
    expect(complaints(got, (r) => bitDifference(r, out.get(r.name)!))).toEqual([]);
    await device.dispose();
  });

  it('draws every other class alike: chi-square over 3000 steps', async () => {
    const [steps, k] = [3000, 12];
    const device = await wasm.relaxed(1);
    const f = compile(({ y, key }) => sampleClasses(y!, classes, k, key).classes, { device });
    const counts = new Array<number>(classes).fill(0);
    for (let step = 0; step < steps; step++) {
      const { result } = await f({ y: host(Int32Array.from(labels), [rows]), key: host(keyData(seed, step), [2]) });
      for (const c of result!.data) counts[Number(c)]!++;
    }
    await device.dispose();
    const positives = new Set(labels);
    for (const c of positives) expect(counts[c]).toBe(steps);
    const others = counts.filter((_, c) => !positives.has(c));
    const expected = (steps * (k - positives.size)) / others.length;
    // Drawn without replacement, Σ (n − e)²/e is (1 − k/N)·N/(N − 1) times a chi-square variable of N − 1 degrees.
    const share = (k - positives.size) / others.length;
    const degrees = others.length - 1;
    const statistic = others.reduce((s, n) => s + (n - expected) ** 2 / expected, 0);
    const chi = (statistic * degrees) / others.length / (1 - share);
    expect(Math.abs(chi - degrees)).toBeLessThan(4 * Math.sqrt(2 * degrees));
  }, 30_000);

  it('has room for a batch of different people, and wants a key', () => {
    expect([sampleSize(1000, 0.1, 64), sampleSize(100, 0.1, 64), sampleSize(10, 0.1, 64)]).toEqual([100, 64, 10]);
    const loss = (key?: Tensor) => ({
      inputs,
      build: ({ x, labels: y }: Readonly<Record<string, Tensor>>) => ({
        loss: make('arcface', 0.5).loss(x!, y!, new TraceContext(true, key)).loss,
      }),
    });
    return expect(exact(loss())).rejects.toThrow(/Partial FC: expected a key while training, got none/);
  });
});

const sampling = losses.filter((l) => 'sampleRate' in l.options).map((l) => l.name);

describe('a head over a sample', () => {
  it('is offered by every head over cosines', () => {
    expect(sampling).toContain('arcface');
    expect(sampling.length).toBe(losses.filter((l) => l.role === 'head' && l.curves).length);
  });

  it.each(sampling)('%s: of all classes, is the whole head', async (name) => {
    const whole = await exact(passOf(make(name, 1)));
    const sampled = await exact(passOf(make(name, 0.999)));
    for (const [output, { values }] of whole)
      Array.from(values).forEach((v, i) => {
        expect(Math.abs(sampled.get(output)!.values[i]! - v), `${output}[${i}]`).toBeLessThan(
          1e-12 * (1 + Math.abs(v)),
        );
      });
  });

  it.each([
    ['arcface', { s: 8 }, 1],
    ['subcenter-arcface', { s: 8 }, 3],
    ['multiface', { s: 8 }, 1],
  ] as const)(
    '%s: is the head of the sampled classes alone, and the others have no gradient',
    async (name, options, perClass) => {
      const k = 12;
      const sample = await exact(sampleOf(k));
      const chosen = Array.from(sample.get('classes')!.values);
      const head = make(name, k / classes, options);
      const got = await exact(passOf(head));
      const few = createLoss(name, { classes: k, embeddingSize: dim }, options) as Head;
      const width = perClass * dim;
      few.weight.write(
        Float32Array.from(chosen.flatMap((c) => [...head.weight.host.slice(c * width, (c + 1) * width)] as number[])),
      );
      const alone = await exact({
        ...passOf(few),
        inputs: new Map([...inputs, ['labels', host(Int32Array.from(sample.get('labels')!.values), [rows])]]),
      });
      const centres = Array.from({ length: classes }, (_, c) => chosen.indexOf(c));
      const want = centres.flatMap((at) =>
        at < 0
          ? new Array<number>(width).fill(0)
          : Array.from(alone.get('dw')!.values).slice(at * width, (at + 1) * width),
      );
      expect(Array.from(got.get('dw')!.values)).toEqual(want);
      for (const output of ['loss', 'hits', 'dx'])
        expect(got.get(output)!.values, output).toEqual(alone.get(output)!.values);

      const truth = await truthOf(passOf(head));
      const device = await wasm.relaxed(2);
      expect(complaints(await runOn(device, passOf(head)), (r) => outOfBound(r, truth))).toEqual([]);
      await device.dispose();
    },
  );

  it.runIf(runGpu)('runs on WebGPU: the same sample, and ArcFace over it', async () => {
    const device = await openGpuDevice();
    const want = await exact(sampleOf(12));
    expect(complaints(await runOn(device, sampleOf(12)), (r) => bitDifference(r, want.get(r.name)!))).toEqual([]);
    const pass = passOf(make('arcface', 0.5, { s: 8 }));
    const truth = await truthOf(pass);
    expect(complaints(await runOn(device, pass), (r) => outOfBound(r, truth, gpuFactor))).toEqual([]);
    await device.dispose();
  });

  it('takes all classes outside training', async () => {
    const loss = (head: Head): Batch => ({
      inputs,
      build: ({ x, labels: y }) => ({ loss: head.loss(x!, y!, new TraceContext(false)).loss }),
    });
    const [a, b] = [await exact(loss(make('arcface', 0.3))), await exact(loss(make('arcface', 1)))];
    expect(a.get('loss')!.values).toEqual(b.get('loss')!.values);
  });
});
