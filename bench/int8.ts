/**
 * 8-bit convolutions next to those of float32: MobileFaceNet's own layers with bias and slopes behind them, dense ones of
 * residual networks, and the whole network, on one thread.
 *
 * The one idea: both take turns in one process and start from operands in memory, weights packed beforehand, as a plan runs
 * them; so the ratio is what quantising gains or loses, layer by layer. Operations count as multiply-adds of either kind.
 */

import { conv2dWasm } from '../native/conv2d.ts';
import type { Epilogue } from '../native/epilogue.ts';
import { type Int8Attrs, paddedChannels } from '../native/int8.ts';
import { int8Depthwise } from '../native/int8Depthwise.ts';
import { int8Product } from '../native/int8Product.ts';
import { f32x4 } from '../native/wasm.ts';
import type { DType } from '../src/core/dtype.ts';
import { host } from '../src/core/tensor.ts';
import { WasmDevice } from '../src/device/wasm.ts';
import { embedderOf } from '../src/evaluate/embedder.ts';
import { quantizeNetwork } from '../src/quant/quantizeNetwork.ts';
import { type ConvLayer, denseLayers, depthwiseLayers } from './convolutions.ts';
import { pointwiseShapes } from './gemm.ts';
import { KernelBench, modeOf } from './kernels.ts';
import type { WasmMode } from './machine.ts';
import { peerNetwork } from './models.ts';
import { mobileFaceNet, multiplications } from './peers/net.ts';
import { bestOf, geometricMean, medianOf, sampleAll } from './sample.ts';
import { type Ceilings, type Result, resultOf, type Summary } from './table.ts';

export interface Int8Options {
  readonly mode: WasmMode;
  readonly batches: readonly number[];
  readonly seconds: number;
}

const layerName = ({ size, cin, cout, kernel, stride, depthwise }: ConvLayer) =>
  `${depthwise ? 'depthwise ' : ''}${kernel}x${kernel}${stride > 1 ? `/${stride}` : ''} ${size}x${size} ${cin}>${cout}`;

/** Runs of a layer in float32 and in 8 bits, and its operations. */
function layerWorks(bench: KernelBench, { size, cin, cout, kernel, stride, depthwise }: ConvLayer) {
  const global = kernel === size;
  const around = global || kernel === 1 ? 0 : (kernel - 1) / 2;
  const out = global ? 1 : Math.ceil(size / stride);
  const groups = depthwise ? cin : 1;
  const conv = {
    stride: [stride, stride],
    padding: [around, around, around, around],
    dilation: [1, 1],
    groups,
  } as const;
  const [x, w, y] = [
    [1, size, size, cin],
    [kernel, kernel, cin / groups, cout],
    [1, out, out, cout],
  ] as const;
  const padded = paddedChannels(cout);
  const slopes: Epilogue = {
    key: 'bench_prelu',
    operands: [0, 1].map(() => ({ buffer: bench.alloc(4 * padded), kind: 'column' })),
    apply(f, acc, [bias, slope]) {
      const t = f.let(acc.add(bias!));
      return t.mul(slope!).select(t, t.lt(f32x4(0)));
    },
  };
  const int8: Int8Attrs = { ...conv, zero: 128, slopes: 'small', output: { zero: 128, low: 0, high: 255 } };
  const of = (dtype: DType) => (shape: readonly number[]) => ({ shape, dtype });
  const [f32, u8] = [of('f32'), of('u8')];
  return {
    flops: 2 * out * out * cout * kernel * kernel * (cin / groups),
    works: [
      bench.plan(conv2dWasm, [x, w].map(f32), [f32(y)], { ...conv, epilogue: slopes }),
      bench.plan(
        depthwise ? int8Depthwise : int8Product,
        [u8(x), u8(w), f32([padded]), { shape: [padded], dtype: 'i32' }, f32([padded])],
        [u8(y)],
        int8,
      ),
    ] as const,
  };
}

/** MobileFaceNet in float32 and in 8 bits, as embedders. */
async function networkWorks(device: WasmDevice) {
  const net = peerNetwork();
  const pixels = (n: number) =>
    Uint8Array.from({ length: n * 112 * 112 * 3 }, (_, i) => (i * 7919 + (i >> 7) * 31) % 256);
  const quantised = await quantizeNetwork(net, [host(pixels(2), [2, 112, 112, 3])], { device });
  return { embedders: [embedderOf(net, device), embedderOf(quantised, device)] as const, pixels };
}

export async function benchInt8(
  { mode, batches, seconds }: Int8Options,
  ceilings: Ceilings,
): Promise<{ results: Result[]; summaries: Summary[] }> {
  const results: Result[] = [];
  const summaries: Summary[] = [];
  const compare = async (work: string, flops: number, items: number, runs: readonly (() => Promise<unknown>)[]) => {
    const names = ['float32', 'int8'];
    const ms = await sampleAll(
      runs.map((run, i) => ({
        name: `${names[i]} ${work}`,
        run: async () => {
          await run();
          return undefined;
        },
      })),
      { seconds },
    );
    ms.forEach((list, i) => {
      results.push(resultOf({ work: `${names[i]} ${work}`, threads: 1, mode, flops, items }, list, ceilings));
    });
    const [f, q] = ms as [number[], number[]];
    return { best: bestOf(f) / bestOf(q), median: medianOf(f) / medianOf(q) };
  };
  const summary = (what: string, ratios: readonly { best: number; median: number }[]) => {
    for (const kind of ['best', 'median'] as const)
      summaries.push({
        what: `${what}: float32 time / int8 time, ${kind}`,
        mode,
        value: geometricMean(ratios.map((r) => r[kind])),
        unit: 'x',
      });
  };
  const pointwise = pointwiseShapes().map(
    ([pixels, cin, cout]): ConvLayer => ({
      size: Math.sqrt(pixels),
      cin,
      cout,
      kernel: 1,
      stride: 1,
      depthwise: false,
    }),
  );
  const families = { '1x1': pointwise, dense: denseLayers, depthwise: depthwiseLayers() };
  for (const [family, layers] of Object.entries(families)) {
    const ratios = [];
    for (const layer of layers) {
      const bench = await KernelBench.create(modeOf(mode));
      const { flops, works } = layerWorks(bench, layer);
      const ratio = await compare(layerName(layer), flops, 1, works);
      await bench.close();
      ratios.push(ratio);
    }
    summary(`${family}, geometric mean of ${layers.length} layers`, ratios);
  }
  const device = await WasmDevice.create({ threads: 1 });
  const { embedders, pixels } = await networkWorks(device);
  for (const batch of batches) {
    const images = pixels(batch);
    const ratio = await compare(
      `MobileFaceNet b${batch}`,
      2 * multiplications(mobileFaceNet()) * batch,
      batch,
      embedders.map((e) => () => e.embed(images)),
    );
    summary(`MobileFaceNet b${batch}`, [ratio]);
  }
  for (const e of embedders) await e.dispose();
  await device.dispose();
  return { results, summaries };
}
