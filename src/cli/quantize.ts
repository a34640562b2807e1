/**
 * `facegrad quantize`: a network in 8 bits, and what it costs and gains: its embeddings next to float32's on pictures that
 * it was not calibrated on, its size, and its speed in this very run.
 */
import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { number } from '../core/options.ts';
import type { HostTensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { type Embedder, embedderOf } from '../evaluate/embedder.ts';
import { folded } from '../models/graph/fold.ts';
import { graphNetwork } from '../models/graph/network.ts';
import { traced } from '../models/graph/traced.ts';
import type { FaceNetwork } from '../models/network.ts';
import { type CalibrationMethod, calibrationMethods } from '../quant/calibrate.ts';
import { quantizeNetwork } from '../quant/quantizeNetwork.ts';
import { writeAtomically } from '../train/checkpointFile.ts';
import { modelBytes } from '../weights/import.ts';
import { int8Bytes } from '../weights/int8.ts';
import { errorBar } from './bar.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { type Picture, picturesOf } from './faces.ts';
import { evenly, pictureBatches, readModel } from './model.ts';
import { described, oneOf, whole } from './options.ts';
import { counted, print, printJson, size } from './output.ts';

interface QuantizeFlags extends DeviceChoice {
  readonly calibrate?: string;
  readonly out?: string;
  readonly pictures: number;
  readonly test: number;
  readonly method: string;
  readonly percentile: number;
  readonly keep?: readonly string[];
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

/** Pictures to calibrate on, and others to compare embeddings on, evenly from all. */
function parted(all: readonly Picture[], from: string, { pictures, test }: QuantizeFlags) {
  if (all.length < 2)
    throw new UsageError(
      `--calibrate ${from}: expected at least 2 pictures, one to compare embeddings on, got ${all.length}\nSome hundred aligned faces like those of use.`,
    );
  const held = Math.min(test, Math.max(1, Math.floor(all.length / 4)));
  const chosen = evenly(all, pictures + held);
  const apart = new Set(evenly(chosen, held));
  return { calibration: chosen.filter((p) => !apart.has(p)), test: [...apart] };
}

const pixelsOf = (batches: readonly HostTensor[]): Uint8Array => {
  const out = new Uint8Array(batches.reduce((n, b) => n + b.data.length, 0));
  let at = 0;
  for (const { data } of batches) {
    out.set(data, at);
    at += data.length;
  }
  return out;
};

/** Cosines of rows of two matrices. */
function cosines(a: Float32Array, b: Float32Array, d: number): number[] {
  return Array.from({ length: a.length / d }, (_, row) => {
    let [ab, aa, bb] = [0, 0, 0];
    for (let k = row * d; k < (row + 1) * d; k++) {
      ab += a[k]! * b[k]!;
      aa += a[k]! ** 2;
      bb += b[k]! ** 2;
    }
    return ab / Math.sqrt(aa * bb);
  });
}

/** Milliseconds an image of both, in turns, so that other load falls on both alike. */
async function speeds(embedders: readonly [Embedder, Embedder], pixels: Uint8Array, images: number) {
  const ms: [number[], number[]] = [[], []];
  const until = performance.now() + 3000;
  for (let turn = 0; turn < 8 || (performance.now() < until && turn < 500); turn++)
    for (const [i, e] of embedders.entries()) {
      const start = performance.now();
      await e.embed(pixels);
      // The first turns compile and run in V8's baseline tier.
      if (turn > 3) ms[i]!.push((performance.now() - start) / images);
    }
  const of = (list: number[]) => {
    const sorted = list.toSorted((a, b) => a - b);
    return { best: sorted[0]!, median: sorted[sorted.length >> 1]! };
  };
  const [float32, int8] = [of(ms[0]), of(ms[1])];
  return { float32, int8, best: float32.best / int8.best, median: float32.median / int8.median };
}

/** The network as it runs fastest in float32: batch norms folded. */
async function foldedNetwork(network: FaceNetwork): Promise<FaceNetwork> {
  const out = graphNetwork(folded(await traced(network)));
  out.preprocessing = network.preprocessing;
  return out;
}

function checkOut(out: string, overwrite: boolean | undefined): void {
  if (existsSync(out) && statSync(out).isDirectory())
    throw new UsageError(`--out ${out}: expected a file, but it is a folder\nName a file in it.`);
  if (!overwrite && existsSync(out))
    throw new UsageError(`--out ${out}: expected a new file, but it is there\nPass --overwrite to replace it.`);
  if (!existsSync(dirname(out)))
    throw new UsageError(`--out ${out}: expected a folder ${dirname(out)} to write into, got none\nMake it first.`);
}

async function openWasm(flags: QuantizeFlags): Promise<Device> {
  if (flags.device !== 'auto' && flags.device !== 'wasm')
    throw new UsageError(
      `--device: expected wasm, where 8-bit networks have kernels, got '${flags.device}'\nLeave it out.`,
    );
  return openDevice({ ...flags, device: 'wasm' });
}

async function run(path: string, flags: QuantizeFlags): Promise<void> {
  const { calibrate: from, out, json } = flags;
  if (from === undefined || out === undefined)
    throw new UsageError(
      `quantize: expected --calibrate DIR and --out FILE, got ${from === undefined ? (out === undefined ? 'neither' : 'no --calibrate') : 'no --out'}\nExample: facegrad quantize w.safetensors --calibrate faces/ --out w8.safetensors`,
    );
  const method: CalibrationMethod = oneOf('method', flags.method, calibrationMethods);
  checkOut(out, flags.overwrite);
  const { network, metadata } = await readModel(path);
  const parts = parted(await picturesOf([from]), from, flags);
  const device = await openWasm(flags);
  const bar = errorBar();
  try {
    const quantised = await quantizeNetwork(network, await pictureBatches(parts.calibration, network), {
      device,
      method,
      percentile: flags.percentile,
      keep: flags.keep,
      onProgress: (done, all) => bar.show('calibrating', done, all, `${done}/${all} batches`),
    });
    bar.stop();
    const bytes = int8Bytes(quantised, metadata);
    const pixels = pixelsOf(await pictureBatches(parts.test, network));
    const embedders = [embedderOf(await foldedNetwork(network), device), embedderOf(quantised, device)] as const;
    const [h, w] = network.preprocessing.inputSize;
    const found = cosines(
      await embedders[0].embed(pixels),
      await embedders[1].embed(pixels),
      network.options.embeddingSize,
    );
    const few = Math.min(4, parts.test.length);
    const speed = await speeds(embedders, pixels.subarray(0, few * 3 * h * w), few);
    for (const e of embedders) await e.dispose();
    await writeAtomically(out, bytes);
    report({
      out,
      bytes: bytes.length,
      float32Bytes: (await modelBytes(network)).length,
      quantised: quantised.model.quantised.size,
      calibratedOn: parts.calibration.length,
      method,
      cosine: {
        pictures: found.length,
        mean: found.reduce((a, b) => a + b, 0) / found.length,
        min: Math.min(...found),
      },
      speed: { threads: device.info().threads, simd: device.info().simd, batch: few, ...speed },
      json,
    });
  } finally {
    bar.stop();
    await device.dispose();
  }
}

interface Report {
  readonly out: string;
  readonly bytes: number;
  readonly float32Bytes: number;
  readonly quantised: number;
  readonly calibratedOn: number;
  readonly method: CalibrationMethod;
  readonly cosine: { readonly pictures: number; readonly mean: number; readonly min: number };
  readonly speed: Awaited<ReturnType<typeof speeds>> & {
    readonly threads: number;
    readonly simd: string;
    readonly batch: number;
  };
  readonly json: boolean | undefined;
}

function report({ json, ...r }: Report): void {
  if (json) {
    printJson(r);
    return;
  }
  const { cosine, speed } = r;
  const ms = ({ best, median }: { best: number; median: number }) => `${best.toFixed(2)} (median ${median.toFixed(2)})`;
  print(
    `${counted(r.quantised, 'layer')} in 8 bits, calibrated on ${counted(r.calibratedOn, 'picture')} (${r.method})`,
  );
  print(
    `cosine to float32 on ${counted(cosine.pictures, 'other picture')}: mean ${cosine.mean.toFixed(5)}, least ${cosine.min.toFixed(5)}`,
  );
  print(
    `speed in this run, ${counted(speed.threads, 'thread')}, ${speed.simd}, ${counted(speed.batch, 'image')} at once: ${ms(speed.int8)} ms an image, float32 ${ms(speed.float32)}: ${speed.best.toFixed(2)} times as fast (median ${speed.median.toFixed(2)})`,
  );
  print(`${r.out}: ${size(r.bytes)}, float32 ${size(r.float32Bytes)}`);
}

export function register(program: Command): void {
  const command = program
    .command('quantize')
    .description('round a network to 8 bits: a quarter of the size, and faster on WASM')
    .argument('<model>', 'weights that facegrad wrote, or a model of any format that it imports')
    .option('--calibrate <dir>', 'aligned pictures like those of use: a folder or a data set')
    .option('--out <file>', 'the weights file to write (.safetensors), which embed, eval and verify take')
    .option('--pictures <n>', 'pictures that ranges are found on', whole('pictures', 1), 200)
    .option('--test <n>', 'other pictures that embeddings are compared on', whole('test', 1), 64)
    .option('--method <name>', `how ranges are found: ${calibrationMethods.join(', ')}`, 'minmax')
    .option(
      '--percentile <percent>',
      'of the numbers of a value that percentile keeps',
      described('percentile', number({ above: 50, to: 100 }, 99.99, 'percent')),
      99.99,
    )
    .option('--keep <paths...>', 'nodes of the network that stay float32')
    .option('--overwrite', 'replace the file that is there')
    .option('--json', 'cosines, times and sizes as JSON');
  addDeviceOptions(command).action(run);
}
