/** What heads are built on: row scalars from the cosines, several centres per class, blocks of classes, logit curves. */
import { describe, expect, it } from 'vitest';
import { compile } from '../../src/compile.ts';
import { resolveOptions } from '../../src/core/options.ts';
import { fold, keyOf, normal } from '../../src/core/random.ts';
import { host, type Tensor } from '../../src/core/tensor.ts';
import { ReferenceDevice } from '../../src/device/reference.ts';
import * as E from '../../src/expr/nodes.ts';
import { grad } from '../../src/grad.ts';
import { adaFaceLogits } from '../../src/heads/adaFace.ts';
import { arcFaceLogits } from '../../src/heads/arcFace.ts';
import { combinedMarginLogits } from '../../src/heads/combinedMargin.ts';
import { cosFaceLogits } from '../../src/heads/cosFace.ts';
import { targetLogitCurve } from '../../src/heads/head.ts';
import { createLoss, losses } from '../../src/heads/index.ts';
import type { LogitCurve } from '../../src/heads/loss.ts';
import { magFaceLogits } from '../../src/heads/magFace.ts';
import { SphereFace, sphereFaceLogits } from '../../src/heads/sphereFace.ts';
import { initialize, loadState, stateOf, variablesOf } from '../../src/nn/module.ts';
import { type MarginLogits, type MarginSoftmaxOptions, marginSoftmax } from '../../src/ops/index.ts';
import { accumulate } from '../../src/plan/accumulate.ts';
import { readSafetensors, writeSafetensors } from '../../src/weights/safetensors.ts';
import { type Batch, exactly, outOfBound, runOn, truthOf, wasm } from '../ops/harness.ts';

const [rows, dim, classes] = [5, 4, 7];
const key = fold(keyOf(31), 'blocks');
const inputs = (centres: number) =>
  new Map([
    ['x', host(normal(fold(key, 'x'), rows * dim), [rows, dim])],
    ['w', host(normal(fold(key, 'w'), classes * centres * dim), [classes * centres, dim])],
    ['labels', host(Int32Array.of(0, 6, 3, 2, 6), [rows])],
  ]);
const logits = {
  target: (c: E.Expr, s?: E.Expr) => E.mul(c, s!),
  nonTarget: (c: E.Expr, _: E.Expr, s?: E.Expr) => E.mul(c, s!),
};
/** The scale of a row is log Σ exp(3 cos) over its other classes: gradients flow through it. */
const options = (centres: number, block: number): MarginSoftmaxOptions => ({
  block,
  centresPerClass: centres,
  rowScalars: ({ otherLogSumExp }) => [otherLogSumExp((c) => E.mul(c, 3))],
});
const batchOf = (centres: number, block: number): Batch => ({
  inputs: inputs(centres),
  build({ x, w, labels }: Readonly<Record<string, Tensor>>) {
    const { loss } = marginSoftmax(x!, w!, labels!, logits, options(centres, block));
    const [dx, dw] = grad(loss, [x!, w!]);
    return { loss, dx: dx!, dw: dw! };
  },
});

describe('row scalars that come from the cosines', () => {
  it.each([
    [1, 1],
    [1, 2],
    [1, 3],
    [3, 1],
    [3, 2],
    [3, 100],
  ])('%i centres per class in blocks of %i: as in one block, and on both devices', async (centres, block) => {
    const data = new Map([...inputs(centres)].map(([n, t]) => [n, t.data]));
    const whole = await (await exactly(inputs(centres), batchOf(centres, 1000).build))(data);
    const parts = await (await exactly(inputs(centres), batchOf(centres, block).build))(data);
    for (const [name, r] of whole)
      Array.from(r.values).forEach((v, i) => {
        expect(Math.abs(parts.get(name)!.values[i]! - v), `${name}[${i}]`).toBeLessThan(1e-12);
      });
    const truth = await truthOf(batchOf(centres, block));
    const device = await wasm.relaxed(1);
    for (const r of (await runOn(device, batchOf(centres, block))).values())
      expect(outOfBound(r, truth)).toBeUndefined();
    await device.dispose();
  });

  it('are right: against plain f64 loops', async () => {
    const data = new Map([...inputs(3)].map(([n, t]) => [n, t.data]));
    const { values } = (await (await exactly(inputs(3), batchOf(3, 2).build))(data)).get('loss')!;
    const [x, w, labels] = ['x', 'w', 'labels'].map((n) => Array.from(data.get(n)!)) as [number[], number[], number[]];
    const row = (m: number[], i: number) => m.slice(i * dim, (i + 1) * dim);
    const dot = (a: number[], b: number[]) => a.reduce((s, v, i) => s + v * b[i]!, 0);
    const cos = (a: number[], b: number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
    let loss = 0;
    for (let i = 0; i < rows; i++) {
      const c = Array.from({ length: classes }, (_, j) =>
        Math.max(...[0, 1, 2].map((k) => cos(row(x, i), row(w, 3 * j + k)))),
      );
      const s = Math.log(c.reduce((t, v, j) => t + (j === labels[i] ? 0 : Math.exp(3 * v)), 0));
      loss += Math.log(c.reduce((t, v) => t + Math.exp(s * v), 0)) - s * c[labels[i]!]!;
    }
    expect(values[0]).toBeCloseTo(loss / rows, 12);
  });

  it('need rows of w that divide into classes', async () => {
    const wrong = { ...batchOf(1, 2), build: batchOf(3, 2).build };
    await expect(exactly(wrong.inputs, wrong.build)).rejects.toThrow(/rows of w that divide into classes of 3 centres/);
  });
});

describe('the target logit over the angle', () => {
  const curve = (logits: MarginLogits, ...rowScalars: number[]): LogitCurve => ({ label: '', logits, rowScalars });
  const falls = (v: Float64Array) => v.every((y, i) => i === 0 || y <= v[i - 1]! + 1e-12);
  it('is the formula', () => {
    const { theta, logit } = targetLogitCurve(curve(arcFaceLogits({ s: 64, m: 0.5 })));
    expect([theta.length, theta[0], theta[180]]).toEqual([181, 0, Math.PI]);
    expect(logit[90]).toBeCloseTo(64 * Math.cos(Math.PI / 2 + 0.5), 10);
    expect(targetLogitCurve(curve(cosFaceLogits()), 3).logit[1]).toBeCloseTo(-64 * 0.35, 10);
    expect(targetLogitCurve(curve(magFaceLogits(), 110), 3).logit[0]).toBeCloseTo(64 * Math.cos(0.8), 1);
  });
  it('falls with the angle where a margin promises it', () => {
    for (const fallen of [
      targetLogitCurve(curve(cosFaceLogits())),
      targetLogitCurve(curve(combinedMarginLogits({ m1: 1.35, m2: 0.3, m3: 0.1 }))),
      targetLogitCurve(curve(combinedMarginLogits({ m1: 4, m2: 0.3, m3: 0 }))),
      targetLogitCurve(curve(sphereFaceLogits({ m: 4 }), 2, 5)),
      targetLogitCurve(curve(adaFaceLogits(), -1)),
      targetLogitCurve(curve(adaFaceLogits(), 1)),
    ])
      expect(falls(fallen.logit)).toBe(true);
  });
  it('is drawn for every head that has one, with what its options say', () => {
    const drawn = losses.filter((l) => l.curves);
    expect(drawn.length).toBeGreaterThanOrEqual(12);
    for (const { name, options, curves } of drawn) {
      const lines = curves!(resolveOptions(name, options));
      expect(new Set(lines.map((l) => l.label)).size, name).toBe(lines.length);
      for (const line of lines) {
        const { logit } = targetLogitCurve(line, 37);
        expect(logit.every(Number.isFinite), name).toBe(true);
        expect(logit[0]!, name).toBeGreaterThan(logit[18]!);
      }
    }
  });
  it('wants two points', () => {
    expect(() => targetLogitCurve(curve(cosFaceLogits()), 1)).toThrow(
      /points expected a whole number of at least 2, got 1/,
    );
  });
});

describe('the state of a head', () => {
  it('goes through a checkpoint', async () => {
    const make = () => initialize(new SphereFace({ classes: 3, embeddingSize: 4 }), 1);
    const [head, other] = [make(), make()];
    head.iteration.write(Float32Array.of(1234));
    const bytes = writeSafetensors(new Map(await stateOf(variablesOf(head))), {});
    loadState(variablesOf(other), readSafetensors(bytes, 'head').tensors, 'head');
    expect(Array.from(other.iteration.host)).toEqual([1234]);
  });
  it('moves by one update in all parts of an accumulated step', async () => {
    const head = initialize(new SphereFace({ classes: 7, embeddingSize: dim }), 1);
    const device = new ReferenceDevice();
    const step = compile(
      ({ x, labels }, ctx) => {
        const [loss] = accumulate([x!, labels!], 2, ctx, ([a, b], own) => [head.loss(a!, b!, own).loss]);
        return { loss: loss! };
      },
      { device, training: true },
    );
    const data = { x: host(normal(key, 4 * dim), [4, dim]), labels: host(Int32Array.of(0, 6, 3, 2), [4]) };
    const losses = [await step(data), await step(data)].map((r) => r.loss!.data[0]);
    expect(device.exact(head.iteration)[0]).toBe(2);
    expect(losses[0]).not.toBe(losses[1]);
  });
  it.each(['curricularface', 'adaface'])('averages over updates, whatever their parts: %s', async (name) => {
    const rowsOf = normal(key, 2 * dim);
    const data = {
      x: host(Float32Array.of(...rowsOf, ...rowsOf), [4, dim]),
      labels: host(Int32Array.of(0, 6, 0, 6), [4]),
    };
    const movedIn = async (parts: number) => {
      const head = initialize(createLoss(name, { classes: 7, embeddingSize: dim }, { momentum: 0.5 }), 1);
      const device = new ReferenceDevice();
      const step = compile(
        ({ x, labels }, ctx) => {
          accumulate([x!, labels!], parts, ctx, ([a, b], own) => [head.loss(a!, b!, own).loss]);
          return undefined;
        },
        { device, training: true },
      );
      await step(data);
      const moved = variablesOf(head).filter((v) => /\.(t|normMean)$/.test(v.name));
      return moved.map((v) => device.exact(v)[0]!);
    };
    const [whole, parts] = [await movedIn(1), await movedIn(2)];
    expect(whole.length).toBe(1);
    expect(parts[0]).toBeCloseTo(whole[0]!, 12);
  });
});
