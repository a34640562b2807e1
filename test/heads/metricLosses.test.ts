/**
 * Metric losses, regularisers and distillation (src/heads): PyTorch's losses and gradients (test/reference/metricLosses.py)
 * in f64 and on the devices, central differences, and what is asked of hard batches: finite numbers for zero-length and
 * equal embeddings, and nothing where there is nothing to compare.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { type HostTensor, host, type Tensor } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import { grad } from '../../src/grad.ts';
import { CenterLoss } from '../../src/heads/center.ts';
import { Distillation } from '../../src/heads/distillation.ts';
import { createLoss, losses } from '../../src/heads/index.ts';
import { TripletLoss } from '../../src/heads/triplet.ts';
import { normalInit } from '../../src/nn/init.ts';
import { initialize, loadState, Parameter, parametersOf, stateOf, variablesOf } from '../../src/nn/module.ts';
import { mean } from '../../src/ops/index.ts';
import { sgd } from '../../src/optim/sgd.ts';
import { accumulate } from '../../src/plan/accumulate.ts';
import { rewrite } from '../../src/plan/rewrite.ts';
import { TraceContext } from '../../src/plan/trace.ts';
import { readSafetensors, writeSafetensors } from '../../src/weights/safetensors.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { type Batch, exactly, gpuFactor, outOfBound, runOn, truthOf, wasm } from '../ops/harness.ts';

const [rows, dim, classes, teacherSize] = [10, 5, 4, 7];
const mixed = [2, 0, 2, 1, 0, 3, 1, 2, 0, 1];
interface Golden {
  readonly name: string;
  readonly loss: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly labels: number[];
  readonly zero: number | null;
  readonly extra: ('centers' | 'teacher' | 'projection')[];
  readonly outputs: Readonly<Record<string, readonly number[]>>;
}
const { cases } = JSON.parse(readFileSync(new URL('../reference/metricLosses.json', import.meta.url), 'utf8')) as {
  cases: Golden[];
};

const key = fold(keyOf(2027), 'metricLosses');
const drawn = {
  centers: host(normal(fold(key, 'centers'), classes * dim), [classes, dim]),
  teacher: host(normal(fold(key, 'teacher'), rows * teacherSize), [rows, teacherSize]),
  projection: host(normal(fold(key, 'projection'), dim * teacherSize), [dim, teacherSize]),
};
/** The embeddings of metricLosses.py. */
function embeddings(zero: number | null = null): Float32Array {
  const x = normal(fold(key, 'x'), rows * dim).map(
    (v, i) => Math.fround(0.75 * v) + drawn.centers.data[mixed[Math.floor(i / dim)]! * dim + (i % dim)]!,
  );
  x.copyWithin(2 * dim, 0, dim);
  x.copyWithin(9 * dim, 4 * dim, 5 * dim);
  if (zero !== null) x.fill(0, zero * dim, (zero + 1) * dim);
  return x;
}

type Inputs = Readonly<Record<string, Tensor>>;
/** A loss with its variables as inputs: loss, hits, gradients, and where its state goes. */
function outputsOf(name: string, options: object, inputs: Inputs, people = classes): Record<string, Tensor> {
  const ctx = new TraceContext(true);
  const { x, labels, teacher, centers, projection } = inputs as Record<string, Tensor>;
  let roots: Tensor[];
  let given: Map<string, Tensor>;
  const found: string[] = [];
  if (name === 'distillation') {
    const d = new Distillation({ ...options, studentSize: x!.shape[1]!, teacherSize: teacher!.shape[1]! });
    roots = [d.between(x!, teacher!)];
    given = new Map(d.projection ? [[d.projection.weight.tensor.id, projection!]] : []);
  } else {
    const loss = createLoss(name, { classes: people, embeddingSize: x!.shape[1]! }, options as Record<string, unknown>);
    const { loss: y, hits } = loss.loss(x!, labels!, ctx);
    roots = [y, ...(hits ? [hits] : []), ...ctx.assigns.values()];
    if (hits) found.push('hits');
    if (ctx.assigns.size) found.push('after');
    given = new Map(variablesOf(loss).map((v) => [v.tensor.id, centers!]));
  }
  const [loss, ...others] = rewrite(roots, given) as [Tensor, ...Tensor[]];
  const trained = { x, ...(found.includes('after') ? {} : { centers }), projection };
  const wrt = Object.entries(trained).filter(([n, t]) => t && (n === 'x' || given.size)) as [string, Tensor][];
  const gradients = grad(
    loss,
    wrt.map(([, t]) => t),
  );
  return {
    loss,
    ...Object.fromEntries(found.map((n, i) => [n, others[i]!])),
    ...Object.fromEntries(wrt.map(([n], i) => [`d${n}`, gradients[i]!])),
  };
}

/** Goldens as one function of the inputs they share and their own. */
function batchOf(list: readonly Golden[]): Batch {
  const inputs = new Map<string, HostTensor>(Object.entries(drawn));
  for (const c of list) {
    inputs.set(`x ${c.zero}`, host(embeddings(c.zero), [rows, dim]));
    inputs.set(`labels ${c.labels}`, host(Int32Array.from(c.labels), [rows]));
  }
  return {
    inputs,
    build: (t) =>
      Object.fromEntries(
        list.flatMap((c) => {
          const own: Record<string, Tensor> = { x: t[`x ${c.zero}`]!, labels: t[`labels ${c.labels}`]! };
          for (const n of c.extra) own[n] = t[n]!;
          const people = Math.max(classes, ...c.labels.map((l) => l + 1));
          return Object.entries(outputsOf(c.loss, c.options, own, people)).map(([n, y]) => [`${c.name} ${n}`, y]);
        }),
      ),
  };
}

describe('against PyTorch', () => {
  const batch = batchOf(cases);
  it('in f64', async () => {
    const exact = await (await exactly(batch.inputs, batch.build))(
      new Map([...batch.inputs].map(([n, t]) => [n, t.data])),
    );
    const wanted = cases.flatMap((c) => Object.entries(c.outputs).map(([n, v]) => [`${c.name} ${n}`, v] as const));
    expect([...exact.keys()].sort()).toEqual(wanted.map(([n]) => n).sort());
    for (const [name, want] of wanted) {
      const got = exact.get(name)!.values;
      expect(got.length, name).toBe(want.length);
      const bound = 1e-9 * (1 + Math.max(...want.map(Math.abs)));
      want.forEach((v, i) => {
        expect(Math.abs(got[i]! - v), `${name}[${i}]: ${got[i]}, PyTorch ${v}`).toBeLessThanOrEqual(bound);
      });
    }
  });
  it('on WASM', async () => {
    const truth = await truthOf(batch);
    const device = await wasm.relaxed(1);
    for (const r of (await runOn(device, batch)).values()) expect(outOfBound(r, truth)).toBeUndefined();
    await device.dispose();
  });
  it.runIf(runGpu)('on WebGPU', async () => {
    const names = [
      'triplet.batchHard.angle',
      'triplet.semiHard',
      'contrastive.raw',
      'center.paper',
      'prelogitsNorm.3.5',
    ];
    const some = batchOf(cases.filter((c) => names.includes(c.name)));
    const truth = await truthOf(some);
    const device = await openGpuDevice();
    for (const r of (await runOn(device, some)).values()) expect(outOfBound(r, truth, gpuFactor)).toBeUndefined();
    await device.dispose();
  });
  it('every loss of this kind', () => {
    const kinds = losses.filter((l) => l.role !== 'head').map((l) => l.name);
    for (const name of [...kinds, 'distillation'])
      expect(
        cases.some((c) => c.loss === name),
        name,
      ).toBe(true);
  });
});

/** Loss and gradient in f64 of a golden's loss, for any embeddings. */
async function slopes(c: Golden) {
  const batch = batchOf([{ ...c, zero: null }]);
  const f = await exactly(batch.inputs, batch.build);
  const data = new Map<string, ArrayLike<number>>([...batch.inputs].map(([n, t]) => [n, t.data]));
  return async (x: ArrayLike<number>) => {
    const out = await f(new Map([...data, ['x null', x]]));
    return { loss: out.get(`${c.name} loss`)!.values[0]!, dx: Array.from(out.get(`${c.name} dx`)!.values) };
  };
}

describe('gradients', () => {
  const check = async (c: Golden, x: Float64Array, skip: readonly number[] = []) => {
    const at = await slopes(c);
    const { dx } = await at(x);
    const scale = 1 + Math.max(...dx.filter((_, i) => !skip.includes(Math.floor(i / dim))).map(Math.abs));
    for (let i = 0; i < x.length; i++) {
      expect(Number.isFinite(dx[i]), `dx[${i}]`).toBe(true);
      if (skip.includes(Math.floor(i / dim))) continue;
      const moved = async (by: number) => (await at(x.map((v, k) => (k === i ? v + by : v)))).loss;
      const slope = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5;
      expect(Math.abs(slope - dx[i]!), `${c.name} dx[${i}]: ${dx[i]}, slope ${slope}`).toBeLessThan(1e-7 * scale);
    }
  };
  const once = cases.filter((c) => !/\.(one|alone|all|alpha|large|raw)$/.test(c.name));
  it.each(once.map((c) => [c.name, c] as const))('are the slope of the loss: %s', async (_, c) => {
    // No two alike: at equal embeddings the choice of the nearest jumps.
    const x = Float64Array.from(normal(fold(key, 'smooth'), rows * dim));
    await check(c, x);
  });
  it('are the slope for an embedding of length 0 where embeddings are not normalised', async () => {
    for (const name of [
      'triplet.semiHard.raw',
      'contrastive.raw',
      'center.paper',
      'center.gradient',
      'distillation.raw',
    ]) {
      const x = Float64Array.from(normal(fold(key, 'smooth'), rows * dim)).fill(0, 3 * dim, 4 * dim);
      await check(cases.find((c) => c.name === name)!, x);
    }
  });
  it('beside an embedding of length 0 are the slope for the others, where embeddings are normalised', async () => {
    for (const name of [
      'triplet.batchAll',
      'triplet.batchHard.angle',
      'contrastive',
      'agentCenter',
      'distillation.cosine',
    ]) {
      const x = Float64Array.from(normal(fold(key, 'smooth'), rows * dim)).fill(0, 3 * dim, 4 * dim);
      await check(cases.find((c) => c.name === name)!, x, [3]);
    }
  });
  it('of equal embeddings are the slope: of one person, and of two', async () => {
    for (const name of ['contrastive.one', 'triplet.batchAll.soft', 'distillation.relational'])
      await check(cases.find((c) => c.name === name)!, Float64Array.from(embeddings()));
  });
});

describe('hard batches on WASM', () => {
  it('give finite numbers', async () => {
    const device = await wasm.relaxed(1);
    const same = Float32Array.from({ length: rows * dim }, (_, i) => [0.3, -0.2, 0.7, 0.1, 0.9][i % dim]!);
    const given: readonly [string, Float32Array][] = [
      ['zeros', new Float32Array(rows * dim)],
      ['tiny', embeddings().map((v) => v * 1e-20)],
      ['large', embeddings().map((v) => v * 1e4)],
      ['collapsed', same],
      [
        'equal to the centre',
        embeddings().map((_, i) => drawn.centers.data[mixed[Math.floor(i / dim)]! * dim + (i % dim)]!),
      ],
    ];
    const some = cases.filter((c) => c.labels.join() === mixed.join());
    const batch = batchOf(some.map((c) => ({ ...c, zero: null })));
    const f = compile((t) => batch.build(t), { device });
    for (const [what, x] of given) {
      const out = await f({ ...Object.fromEntries(batch.inputs), 'x null': host(x, [rows, dim]) });
      const bad = Object.entries(out).filter(([, y]) => Array.from(y.data).some((v) => !Number.isFinite(v)));
      expect(bad.map(([n]) => `${what}: ${n}`)).toEqual([]);
    }
    await device.dispose();
  });
  it('a picture alone', async () => {
    const f = compile(
      ({ x, labels }) =>
        Object.fromEntries(
          losses
            .filter((l) => l.role === 'either')
            .flatMap((l) => {
              const { loss, hits } = l
                .create({ classes: 3, embeddingSize: 2 })
                .loss(x!, labels!, new TraceContext(true));
              return [
                [`${l.name} loss`, loss],
                [`${l.name} hits`, hits!],
                [`${l.name} dx`, grad(loss, [x!])[0]!],
              ];
            }),
        ),
      { device: new ReferenceDevice() },
    );
    const out = await f({ x: host(Float32Array.of(1, 2), [1, 2]), labels: host(Int32Array.of(1), [1]) });
    for (const [name, y] of Object.entries(out))
      expect(Array.from(y.data), name).toEqual(name.endsWith('dx') ? [0, 0] : [0]);
  });
});

it('triplets of a large batch are taken anchor by anchor, to the same numbers', async () => {
  // 160² · 160 triplets are two blocks; of mining over all of them the mean is that of the blocks.
  const b = 160;
  const x = normal(fold(key, 'large'), b * 3);
  const labels = Int32Array.from({ length: b }, (_, i) => i % 50);
  for (const mining of ['batch-all', 'semi-hard'] as const) {
    const loss = new TripletLoss({ classes: 50, embeddingSize: 3, mining, average: 'all' });
    const device = await wasm.relaxed(2);
    const f = compile((t) => ({ loss: loss.loss(t.x!, t.labels!).loss }), { device });
    const got = (await f({ x: host(x, [b, 3]), labels: host(labels, [b]) })).loss!.data[0]!;
    const unit = Array.from({ length: b }, (_, i) => {
      const row = Array.from(x.subarray(3 * i, 3 * i + 3));
      const length = Math.hypot(...row);
      return row.map((v) => v / length);
    });
    const d = (i: number, j: number) => unit[i]!.reduce((s, v, k) => s + (v - unit[j]![k]!) ** 2, 0);
    let [total, n] = [0, 0];
    for (let a = 0; a < b; a++) {
      const others = Array.from({ length: b }, (_, j) => j)
        .filter((j) => labels[j] !== labels[a])
        .map((j) => d(a, j));
      for (let p = 0; p < b; p++) {
        if (p === a || labels[p] !== labels[a]) continue;
        const dp = d(a, p);
        const farther = others.filter((v) => v > dp);
        const chosen = mining === 'batch-all' ? others : [farther.length ? Math.min(...farther) : Math.max(...others)];
        for (const dn of chosen) total += Math.max(0, dp - dn + 0.3);
        n += chosen.length;
      }
    }
    expect(got).toBeCloseTo(total / n, 5);
    await device.dispose();
  }
});

describe('training on embeddings alone', () => {
  const [people, each, size] = [6, 4, 8];
  const n = people * each;
  it.each([
    ['triplet', { mining: 'semi-hard' }],
    ['triplet', { mining: 'batch-hard', softMargin: true }],
    ['triplet', { mining: 'batch-all', distance: 'angle' }],
    ['contrastive', { margin: 1 }],
  ])('%s %o brings a person together and people apart', async (name, options) => {
    const loss = createLoss(name, { classes: people, embeddingSize: size }, options);
    const x = new Parameter([n, size], normalInit(1));
    x.name = 'x';
    x.write(normal(fold(key, 'free'), n * size));
    const optimizer = sgd([x], { momentum: 0.9 });
    const step = compile(
      ({ labels, lr }, ctx) => {
        const { loss: y, hits } = loss.loss(x.tensor, labels!, ctx);
        optimizer.update(grad(y, [x.tensor]), lr!, ctx);
        return { hits: mean(hits!) };
      },
      { device: new ReferenceDevice(), training: true },
    );
    const labels = host(
      Int32Array.from({ length: n }, (_, i) => i % people),
      [n],
    );
    const rates: number[] = [];
    for (let i = 0; i < 60; i++) rates.push((await step({ labels, lr: name === 'triplet' ? 0.3 : 3 })).hits!.data[0]!);
    expect(rates[0]).toBeLessThan(0.5);
    expect(rates.at(-1)).toBe(1);
  });
});

describe('centres', () => {
  it('move once per part of an accumulated step, each part from where the one before left them', async () => {
    const make = () => initialize(new CenterLoss({ classes, embeddingSize: dim, form: 'facenet', alpha: 0.25 }), 1);
    const [whole, parts] = [make(), make()];
    const half = rows / 2;
    const part = (from: number) => ({
      x: host(embeddings().slice(from * dim, (from + half) * dim), [half, dim]),
      labels: host(Int32Array.from(mixed.slice(from, from + half)), [half]),
    });
    const one = compile((t, ctx) => ({ loss: whole.loss(t.x!, t.labels!, ctx).loss }), {
      device: new ReferenceDevice(),
      training: true,
    });
    await one(part(0));
    await one(part(half));
    await compile(
      (t, ctx) => {
        const [loss] = accumulate([t.x!, t.labels!], 2, ctx, ([a, b], own) => [parts.loss(a!, b!, own).loss]);
        return { loss: loss! };
      },
      { device: new ReferenceDevice(), training: true },
    )({ x: host(embeddings(), [rows, dim]), labels: host(Int32Array.from(mixed), [rows]) });
    const moved = Array.from(await parts.centers.read()) as number[];
    expect(moved.some((v) => v !== 0)).toBe(true);
    expect(moved).toEqual(Array.from(await whole.centers.read()));
  });
  it('move while training only, by the rule alone, and go through a checkpoint', async () => {
    const make = () => initialize(new CenterLoss({ classes, embeddingSize: dim }), 1);
    const data = { x: host(embeddings(), [rows, dim]), labels: host(Int32Array.from(mixed), [rows]) };
    const loss = make();
    expect(parametersOf(loss)).toEqual([]);
    const run = (training: boolean, device = new ReferenceDevice()) =>
      compile((t, ctx) => ({ loss: loss.loss(t.x!, t.labels!, ctx).loss }), { training, device })(data);
    await run(false);
    expect(Array.from(await loss.centers.read())).toEqual(Array(classes * dim).fill(0));
    await run(true);
    const moved = Array.from(await loss.centers.read()) as number[];
    const own = mixed.flatMap((l, i) => (l === 3 ? [i] : []));
    // One picture of person 3: from 0 by 0.5 · x / (1 + 1).
    expect(own.length).toBe(1);
    moved.slice(3 * dim).forEach((v, i) => {
      expect(v).toBeCloseTo(embeddings()[own[0]! * dim + i]! / 4, 6);
    });
    const other = make();
    const bytes = writeSafetensors(new Map(await stateOf(variablesOf(loss))), {});
    loadState(variablesOf(other), readSafetensors(bytes, 'center').tensors, 'center');
    expect(other.centers.name).toBe('center.centers');
    expect(Array.from(await other.centers.read())).toEqual(moved);
  });
  it('are parameters in the form with a gradient', () => {
    const trained = initialize(new CenterLoss({ classes: 1000, embeddingSize: 8, form: 'gradient' }), 1);
    expect(parametersOf(trained).map((p) => p.name)).toEqual(['center.centers']);
    const all = Array.from(trained.centers.host, Number);
    expect(all.reduce((s, v) => s + v * v, 0) / all.length).toBeCloseTo(1, 1);
  });
});

describe('options', () => {
  it('give the margin that fits the distance', () => {
    expect(new TripletLoss({ classes: 2 }).options.margin).toBe(0.3);
    expect(new TripletLoss({ classes: 2, distance: 'angle' }).options.margin).toBe(0.35);
    expect(new TripletLoss({ classes: 2, distance: 'angle', margin: 0.1 }).options.margin).toBe(0.1);
    expect(new CenterLoss({ classes: 2, form: 'facenet' }).options.alpha).toBe(0.05);
  });
  it('that make no sense are refused', () => {
    const size = { classes: 3 };
    for (const [name, given, message] of [
      ['triplet', { mining: 'hard' }, /^triplet: mining expected semi-hard, batch-hard or batch-all, got "hard"\n/],
      ['triplet', { margin: -1 }, /^triplet: margin expected a number of at least 0, got -1\n/],
      ['triplet', { alpha: 1 }, /^triplet: expected options among .*got 'alpha'/],
      ['contrastive', { margin: 0 }, /^contrastive: margin expected a number above 0, got 0\n/],
      ['center', { alpha: 2 }, /^center: alpha expected a number from 0 to 1, got 2\n/],
      ['center', { form: 'x' }, /^center: form expected paper, facenet or gradient/],
      ['agent-center', { s: 0 }, /^agent-center: s expected a number above 0, got 0\n/],
      ['prelogits-norm', { p: 0.5 }, /^prelogits-norm: p expected a number from 1 to 16, got 0.5\n/],
    ] as [string, object, RegExp][])
      expect(() => createLoss(name, size, given as Record<string, unknown>), name).toThrow(message);
    expect(() => new Distillation({ form: 'kl' as 'l2' })).toThrow(
      /^distillation: form expected cosine, l2 or relational/,
    );
  });
  it('and shapes that do not fit', async () => {
    const on = (build: (t: Inputs) => Tensor) =>
      compile((t) => ({ y: build(t) }), { device: new ReferenceDevice() })({
        x: host(new Float32Array(12), [3, 4]),
        t: host(new Float32Array(10), [2, 5]),
        labels: host(Int32Array.of(0, 1), [2]),
      });
    for (const l of losses.filter((e) => e.role !== 'head'))
      await expect(
        on((t) => l.create({ classes: 3, embeddingSize: 4 }).loss(t.x!, t.labels!, new TraceContext(true)).loss),
        l.name,
      ).rejects.toThrow(/embeddings \[B, d\] and int32 labels \[B\]/);
    const d = new Distillation({ studentSize: 4, teacherSize: 5 });
    await expect(on((t) => d.between(t.x!, t.t!))).rejects.toThrow(
      /\[B, 4\] of the student and \[B, 5\] of the teacher/,
    );
    expect(() => (d as unknown as { forward(): void }).forward()).toThrow(/between\(student, teacher\)/);
  });
});

it('distillation projects where the sizes differ, and only then', () => {
  const names = (d: Distillation) => variablesOf(d).map((v) => `${v.name} ${v.shape}`);
  expect(names(new Distillation({ studentSize: 4, teacherSize: 8 }))).toEqual(['distillation.projection.weight 4,8']);
  expect(names(new Distillation({ studentSize: 8, teacherSize: 8 }))).toEqual([]);
  expect(names(new Distillation({ form: 'relational', studentSize: 4, teacherSize: 8 }))).toEqual([]);
});
