/** Depthwise kernels on the GPU: every tile around its edges, both widths, against f64; and how work is spread. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { depthwiseWeightGradWgsl, tilesFor, weightGradSpread, windowPass } from '../../kernels/depthwise.ts';
import type { Dispatch, GpuEmitter, GpuLowering, Value } from '../../kernels/lower.ts';
import { depthwiseGeometry } from '../../native/depthwiseGeometry.ts';
import { fold, keyOf } from '../../src/core/random.ts';
import type { Shape } from '../../src/core/shape.ts';
import type { Tensor } from '../../src/core/tensor.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import * as E from '../../src/expr/nodes.ts';
import { MobileFaceNet } from '../../src/models/mobileFaceNet.ts';
import type { ConvAttrs } from '../../src/ops/convolution.ts';
import { defineOp, type Op, registry } from '../../src/ops/define.ts';
import { elementwise } from '../../src/ops/pointwise.ts';
import { trace } from '../../src/plan/trace.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';
import { complaints, draw, forwardBatch, outOfBound, type Problem, runOn, truthOf } from '../ops/harness.ts';

interface Case {
  readonly x: Shape;
  readonly w: Shape;
  readonly y: Shape;
  readonly attrs: ConvAttrs;
}
type Options = Partial<Omit<ConvAttrs, 'groups'>> & { readonly k?: readonly [number, number]; readonly n?: number };

function caseOf(h: number, width: number, c: number, { k = [3, 3], n = 2, ...rest }: Options = {}): Case {
  const attrs: ConvAttrs = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1], groups: c, ...rest };
  const x = [n, h, width, c];
  const w = [...k, 1, c];
  const specs = [x, w].map((shape) => ({ shape, dtype: 'f32' as const }));
  return { x, w, y: registry.get('depthwiseConv2d')!.infer(specs, attrs)[0]!.shape, attrs };
}
const show = ({ x, w, attrs: { stride, padding, dilation } }: Case) =>
  `${x} by ${w.slice(0, 2)} stride ${stride} padding ${padding} dilation ${dilation}`;

const none = [0, 0, 0, 0] as const;
const options: readonly Options[] = [
  { stride: [3, 1], padding: [0, 2, 1, 0] },
  { k: [3, 5], dilation: [2, 1], padding: [2, 1, 0, 3] },
  { k: [3, 3], dilation: [2, 3], stride: [2, 2], padding: [1, 3, 4, 0] },
  { k: [3, 2], dilation: [3, 2], stride: [3, 4] },
  { k: [1, 1], stride: [2, 2], padding: none },
  { k: [2, 2], stride: [3, 3], padding: none },
  { k: [3, 3], padding: [5, 5, 5, 5] },
  { k: [5, 5], padding: [2, 2, 2, 2] },
  { k: [7, 7], stride: [2, 2], padding: [3, 3, 3, 3] },
  { k: [8, 8], stride: [8, 8], padding: none },
  { k: [12, 11], stride: [1, 2], padding: [6, 5, 4, 5] },
  { k: [9, 11], padding: none },
];
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);
/** Sizes around the edges of tiles and strides for the kernels that networks have, one of the others. */
const usual: readonly Case[] = [
  ...[1, 2].flatMap((s) =>
    [3, 4].flatMap((c) => upTo(5).flatMap((h) => upTo(9).map((w) => caseOf(h, w, c, { stride: [s, s], n: 1 })))),
  ),
  ...[1, 2, 5, 8, 12].map((c) => caseOf(6, 7, c)),
  ...[1, 16].map((c) => caseOf(7, 6, c, { k: [7, 6], padding: none, n: 5 })),
];
const others = (c: number) => options.map((o) => caseOf(9, 11, c, o));
const cases = [...usual, ...others(3), ...others(8)];

const f32 = (shape: Shape) => ({ shape, dtype: 'f32' as const });
const geometryOf = ({ x, w, y, attrs }: Case) => {
  const value = (shape: Shape): Value => ({ ...f32(shape), buffer: { id: 0, offset: 0 } });
  return depthwiseGeometry('test', value(x), value(w), value(y), attrs);
};

/** An op of the same specification with a lowering of its own. */
function variant(name: string, suffix: string, wgsl: GpuLowering<ConvAttrs>): Op {
  const key = `${name} ${suffix}`;
  const { name: _, apply, ...record } = registry.get(name)!;
  if (record.kernels.kind !== 'kernel') throw new Error(`${name} has no kernel`);
  return registry.get(key) ?? defineOp(key, { ...record, kernels: { ...record.kernels, wgsl } });
}
const tailOf = (y: Tensor, full: Tensor, column: Tensor) =>
  elementwise('tail', E.max(E.sub(E.mul(E.input(0), E.input(2)), E.input(1)), 0), [y, full, column]);

const operand = (shape: Shape, name: string) => draw(f32(shape), fold(keyOf(31), `${name} ${shape}`));

/** Every tile of a pass on a case, and tap by tap; some of the forward pass also with an epilogue. */
function windowProblems(pass: 'forward' | 'gradient', c: Case): Problem[] {
  const isForward = pass === 'forward';
  const tiles = new Map([undefined, ...tilesFor(pass, geometryOf(c))].map((t) => [String(t), t]));
  const [from, made] = isForward ? [c.x, c.y] : [c.y, c.x];
  const attrs = isForward ? c.attrs : { ...c.attrs, shape: c.x };
  return [...tiles].flatMap(([key, tile]) => {
    const op = variant(isForward ? 'depthwiseConv2d' : 'depthwiseInputGrad', key, (e, [x, w], [y], a) => {
      const image = isForward ? [x!, y!] : [y!, x!];
      const g = depthwiseGeometry('test', image[0]!, w!, image[1]!, a);
      windowPass(e, pass, g, [x!, w!, y!], tile);
    });
    const name = `${pass} ${key}: ${show(c)}`;
    const inputs = [operand(from, 'from'), operand(c.w, 'w')];
    const plain: Problem = { name, inputs, build: (t) => op.apply(t, attrs) };
    if (!isForward || made[1] !== 5 || made[2] !== 9) return [plain];
    const tail = [operand(made, 'full'), operand([made[3]!], 'column')];
    return [
      plain,
      {
        name: `${name} and tail`,
        inputs: [...inputs, ...tail],
        build: ([x, w, full, column]) => [tailOf(op.apply([x!, w!], attrs)[0]!, full!, column!)],
      } satisfies Problem,
    ];
  });
}
const weightProblem = (c: Case): Problem => ({
  name: `weights: ${show(c)}`,
  inputs: [operand(c.x, 'x'), operand(c.y, 'dy')],
  build: (t) => registry.get('depthwiseWeightGrad')!.apply(t, { ...c.attrs, shape: c.w }),
});

/** Notes dispatches instead of making them. */
function recorder() {
  const dispatches: Dispatch[] = [];
  let id = 100;
  const e: GpuEmitter = {
    limits: { subgroups: false, storageBuffers: 8, bufferBytes: 2 ** 28, operandBytes: 2 ** 27 },
    dispatch: (d) => dispatches.push(d),
    temp: (n) => ({ ...f32([n]), buffer: { id: id++, offset: 0 } }),
  };
  return { e, dispatches };
}
const layerCase = (x: Shape, w: Shape, attrs: ConvAttrs): Case =>
  caseOf(x[1]!, x[2]!, x[3]!, { ...attrs, k: [w[0]!, w[1]!], n: x[0]! });
/** The depthwise layers of MobileFaceNet, batch 32. */
function layers(): Case[] {
  const network = new MobileFaceNet();
  const graph = trace((t, ctx) => ({ y: network.call(t.x!, ctx) }), { x: f32([32, 112, 112, 3]) }, true);
  const out: Case[] = [];
  const seen = new Set<object>();
  const visit = ({ node }: Tensor) => {
    if (seen.has(node)) return;
    seen.add(node);
    node.inputs.forEach(visit);
    if (node.op.name === 'depthwiseConv2d')
      out.push(layerCase(node.inputs[0]!.shape, node.inputs[1]!.shape, node.attrs as ConvAttrs));
  };
  for (const y of graph.outputs.values()) visit(y as unknown as Tensor);
  return out;
}

describe('the spread of depthwise kernels over a GPU', () => {
  const values = (c: Case) =>
    [c.x, c.w, c.y].map((shape, id): Value => ({ ...f32(shape), buffer: { id, offset: 0 } })) as [Value, Value, Value];

  it('gives MobileFaceNet at least 256 workgroups a pass at batch 32', () => {
    const list = layers();
    expect(list).toHaveLength(17);
    for (const c of list) {
      const [x, w, y] = values(c);
      const global = c.y[1] === 1;
      const groups = (pass: 'forward' | 'gradient') => {
        const { e, dispatches } = recorder();
        windowPass(e, pass, geometryOf(c), pass === 'forward' ? [x, w, y] : [y, w, x]);
        expect(dispatches).toHaveLength(1);
        return dispatches[0]!.groups;
      };
      // All there is: an image is 128 vectors of results.
      expect(groups('forward'), show(c)).toBeGreaterThanOrEqual(global ? 64 : 256);
      expect(groups('gradient'), show(c)).toBeGreaterThanOrEqual(256);
      const { e, dispatches } = recorder();
      depthwiseWeightGradWgsl(e, [x, y], [w], { ...c.attrs });
      const spread = weightGradSpread(geometryOf(c), c.x[3]! / 4);
      expect(dispatches[0]!.groups).toBe(spread.groups);
      expect(spread.groups, show(c)).toBeGreaterThanOrEqual(256);
      expect(spread.groups, show(c)).toBeLessThanOrEqual(1024);
    }
  });
  it('shares kernels between its layers', () => {
    const { e, dispatches } = recorder();
    for (const c of layers()) {
      const [x, w, y] = values(c);
      windowPass(e, 'forward', geometryOf(c), [x, w, y]);
      windowPass(e, 'gradient', geometryOf(c), [y, w, x]);
      depthwiseWeightGradWgsl(e, [x, y], [w], { ...c.attrs });
    }
    const kernels = new Set(dispatches.map((d) => JSON.stringify([d.files, d.consts, d.code])));
    expect(kernels.size).toBeLessThanOrEqual(12);
  });
  it('covers every tile of dy once', () => {
    for (const c of cases) {
      const g = geometryOf(c);
      const s = weightGradSpread(g, c.x[3]! % 4 ? c.x[3]! : c.x[3]! / 4);
      expect(s.block * s.blocks).toBeGreaterThanOrEqual(s.tiles);
      expect(s.block * (s.blocks - 1)).toBeLessThan(s.tiles);
      expect(s.columns * s.parts).toBe(64);
    }
  });
});

describe.runIf(runGpu)('depthwise kernels on the GPU', () => {
  let device: WebGpuDevice;
  beforeAll(async () => {
    device = await openGpuDevice({ least: true });
  });
  afterAll(() => device.dispose());
  const check = async (problems: readonly Problem[]) => {
    const batch = forwardBatch(problems);
    const truth = await truthOf(batch);
    expect(complaints(await runOn(device, batch), (r) => outOfBound(r, truth))).toEqual([]);
  };

  it.each(['forward', 'gradient'] as const)('every tile at every edge: %s', async (pass) => {
    await check(cases.flatMap((c) => windowProblems(pass, c)));
  });
  it('weight gradient', async () => {
    // Vectors take SwiftShader seconds to compile: the usual kernels and one of each way to share out taps.
    await check(
      [...usual, ...others(3), caseOf(9, 11, 8, options[7]), caseOf(9, 11, 8, options[11])].map(weightProblem),
    );
  });
  it.each([
    caseOf(17, 19, 8, { n: 3 }),
    caseOf(13, 10, 5, { stride: [2, 2], n: 4 }),
    caseOf(5, 6, 72, { n: 6 }),
    caseOf(6, 9, 68, { k: [5, 5], padding: [2, 2, 2, 2], n: 4 }),
    caseOf(7, 7, 20, { k: [7, 7], padding: none, n: 33 }),
  ])('weight gradient of several blocks: $x $w', async (c) => {
    expect(weightGradSpread(geometryOf(c), c.x[3]! % 4 ? c.x[3]! : c.x[3]! / 4).blocks).toBeGreaterThan(1);
    await check([weightProblem(c)]);
  });
  it('an empty batch gives no output and zero gradients of the weights', async () => {
    const c = caseOf(5, 5, 4, { n: 0 });
    const got = await runOn(device, forwardBatch([weightProblem(c)]));
    expect([...got.values()].map((r) => [...(r.values as Float32Array)])).toEqual([Array(36).fill(0)]);
  });
});
