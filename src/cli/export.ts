/**
 * `facegrad export`: a model as files that other programs run. Nothing is written before what would be written gives the
 * embeddings that the network gives, in another program where one is installed.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Command, Option } from 'commander';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { DataError, UsageError } from '../core/errors.ts';
import type { HostTensor } from '../core/tensor.ts';
import type { Device } from '../device/device.ts';
import { embedderOf } from '../evaluate/embedder.ts';
import { resize } from '../image/resize.ts';
import { type FaceNetwork, showPreprocessing } from '../models/network.ts';
import { parameterCount } from '../nn/module.ts';
import { ioError, writeAtomically } from '../train/checkpointFile.ts';
import {
  type ExportContext,
  type Exported,
  type ExportTarget,
  exportNetwork,
  exportTargetOf,
  exportTargets,
} from '../weights/export.ts';
import { takenBy } from '../weights/exports/target.ts';
import { errorBar } from './bar.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { picturesOf } from './faces.ts';
import { judges, type Pixels } from './judges.ts';
import { evenly, type OpenModel, pictureBatches, readModel } from './model.ts';
import { count, counted, print, printJson, size } from './output.ts';
import { defaultThreshold, statedUse, storedThreshold } from './threshold.ts';

interface ExportFlags extends DeviceChoice {
  readonly to?: string;
  readonly out?: string;
  readonly preprocessing: 'include' | 'leave';
  readonly calibrate?: string;
  readonly half?: boolean;
  readonly overwrite?: boolean;
  readonly json?: boolean;
}

function thresholdOf(metadata: OpenModel['metadata']): ExportContext['threshold'] {
  const { threshold } = statedUse(metadata);
  if (threshold !== undefined) return { cosine: threshold, from: 'stated when the model was imported' };
  const stored = storedThreshold(metadata);
  if (stored) return { cosine: stored.cosine, from: `chosen on ${stored.data}` };
  return { cosine: defaultThreshold, from: 'the default, not measured' };
}

/** The script of the engine: beside this program as it is built. */
async function engine(): Promise<string> {
  for (const place of ['../web/engine.js', '../../dist/src/web/engine.js']) {
    const url = new URL(place, import.meta.url);
    if (existsSync(url)) return readFile(url, 'utf8');
  }
  throw new UsageError('export: expected the script of the engine in dist/, got none\nRun npm run build.');
}

/** Most pictures that ranges are found on; evenly taken from more. */
const mostPictures = 512;

async function calibrationPictures(path: string, network: FaceNetwork): Promise<HostTensor[]> {
  return pictureBatches(evenly(await picturesOf([path]), mostPictures), network);
}

/** Pictures that embeddings are compared on: some of those given, or drawn faces. */
function samplePictures(network: FaceNetwork, given: readonly HostTensor[] | undefined, count: number): Pixels {
  const [h, w] = network.preprocessing.inputSize;
  const each = h * w * 3;
  const side = Math.max(32, h, w);
  const data = new Uint8Array(count * each);
  for (let i = 0; i < count; i++) {
    if (given) {
      const [{ data: pictures, shape }] = given as [HostTensor];
      const at = (i % shape[0]!) * each;
      data.set(pictures.subarray(at, at + each), i * each);
    } else {
      const face = { width: side, height: side, data: syntheticFace(1, i, 0, side) };
      data.set(resize(face, w, h).data, i * each);
    }
  }
  return { data, shape: [count, h, w, 3] };
}

async function embeddingsOf(
  network: FaceNetwork,
  pixels: Pixels,
  device: Device,
  batch?: number,
): Promise<Float32Array> {
  const embedder = embedderOf(network, device, { maxBatch: batch ?? 4 });
  try {
    return await embedder.embed(pixels.data);
  } finally {
    await embedder.dispose();
  }
}

/** How near embeddings are: the largest distance relative to the length, and the least cosine. */
function compare(before: Float32Array, after: Float32Array, d: number): { difference: number; cosine: number } {
  let [difference, cosine] = [0, 1];
  for (let at = 0; at < before.length; at += d) {
    const [a, b] = [before.subarray(at, at + d), after.subarray(at, at + d)];
    const dot = a.reduce((s, x, i) => s + x * b[i]!, 0);
    const away = Math.hypot(...a.map((x, i) => x - b[i]!)) / Math.hypot(...a);
    if (!(away <= difference)) difference = away;
    cosine = Math.min(cosine, dot / (Math.hypot(...a) * Math.hypot(...b)));
  }
  return { difference, cosine };
}

/** What float32 arithmetic in another order may change, relative to an embedding's length. */
const tolerance = 1e-4;

async function verified(
  target: ExportTarget,
  made: Exported & { readonly context: ExportContext },
  pixels: Pixels,
  device: Device,
) {
  const { files, context } = made;
  const { network } = context;
  const { batch } = context.graph.spec;
  const before = await embeddingsOf(network, pixels, device, batch);
  const judged = await judges[target.name]?.judge(files, context, pixels);
  const after =
    judged?.embeddings ?? (await embeddingsOf(await target.readBack(files, context), pixels, device, batch));
  const { difference, cosine } = compare(before, after, network.options.embeddingSize);
  const near = target.lossy || context.half ? Number.isFinite(difference) : difference <= tolerance;
  if (!near)
    throw new DataError(
      `export: expected the same embeddings from the ${target.name} file, got some that differ by ${difference.toExponential(1)} of their length (by ${judged?.by ?? 'facegrad'})\nNothing was written. Please report it with the model.`,
    );
  return {
    pictures: pixels.shape[0],
    difference,
    cosine,
    by: judged?.by ?? 'facegrad',
    independent: judged !== undefined,
  };
}

async function run(path: string, flags: ExportFlags): Promise<void> {
  const { out, json, calibrate, preprocessing, half = false } = flags;
  if (out === undefined)
    throw new UsageError(
      'export: expected --out FILE, got none\nExample: facegrad export w.safetensors --to onnx --out w.onnx',
    );
  const target = exportTargetOf(flags.to, out);
  if (target.calibrates && calibrate === undefined)
    throw new UsageError(
      `export --to ${target.name}: expected --calibrate DIR, pictures to find ranges of numbers with, got none\nSome hundred aligned faces like those of use.`,
    );
  if (!target.calibrates && calibrate !== undefined)
    throw new UsageError(
      `export --to ${target.name}: expected no --calibrate, got '${calibrate}'\nIts numbers are not rounded to ranges: leave it out.`,
    );
  const isFree = (file: string) => {
    if (!flags.overwrite && existsSync(file))
      throw new UsageError(`--out ${file}: expected a new file, but it is there\nPass --overwrite to replace it.`);
  };
  isFree(out);
  if (!existsSync(dirname(out)))
    throw new UsageError(`--out ${out}: expected a folder ${dirname(out)} to write into, got none\nMake it first.`);
  const { network, metadata } = await readModel(path);
  const pictures = calibrate === undefined ? undefined : await calibrationPictures(calibrate, network);
  const device = await openDevice(flags);
  const bar = errorBar();
  try {
    const made = await exportNetwork(network, target, {
      metadata,
      name: basename(out),
      preprocessing,
      half,
      pictures,
      threshold: thresholdOf(metadata),
      onProgress: (what, done, all) => bar.show(what, done, all, `${done}/${all}`),
      engine,
    });
    bar.stop();
    const sample = samplePictures(network, pictures, made.context.graph.spec.batch ?? 4);
    const check = await verified(target, made, sample, device);
    const places = made.files.map(({ name, bytes }, i) => ({ file: i === 0 ? out : join(dirname(out), name), bytes }));
    for (const { file } of places) isFree(file);
    for (const { file, bytes } of places) {
      if (dirname(file) !== dirname(out))
        await mkdir(dirname(file), { recursive: true }).catch((e) => {
          throw ioError(`making ${dirname(file)}`, e);
        });
      await writeAtomically(file, bytes);
    }
    report({ target, made, check, places, given: calibrate !== undefined, json });
  } finally {
    bar.stop();
    await device.dispose();
  }
}

interface Report {
  readonly target: ExportTarget;
  readonly made: Exported & { readonly context: ExportContext };
  readonly check: Awaited<ReturnType<typeof verified>>;
  readonly places: readonly { readonly file: string; readonly bytes: Uint8Array }[];
  /** Whether pictures were given, or drawn. */
  readonly given: boolean;
  readonly json: boolean | undefined;
}

function report({ target, made, check, places, given, json }: Report): void {
  const { context, notes } = made;
  const { network } = context;
  const taken = takenBy(context);
  const parameters = parameterCount(network);
  if (json) {
    printJson({
      target: target.name,
      architecture: network.architecture,
      parameters,
      embeddingSize: network.options.embeddingSize,
      takes: taken,
      verification: check,
      notes,
      files: places.map(({ file, bytes }) => ({ file, bytes: bytes.length })),
    });
    return;
  }
  const [h, w] = taken.inputSize;
  print(
    `${network.architecture}: ${count(parameters)} parameters, embeddings of ${network.options.embeddingSize}; heads and optimizer state are left out`,
  );
  const pixels = target.prepares && context.preprocessing === 'include';
  const how = pixels ? 'RGB from 0 to 255, prepared in the file' : showPreprocessing(taken);
  print(
    `input: ${w}x${h} pixels, ${how}${target.prepares && !pixels ? ': to be prepared by who runs it (--preprocessing include puts it in the file)' : ''}`,
  );
  for (const note of notes) print(`note: ${note}`);
  const of = `of ${counted(check.pictures, given ? 'picture' : 'drawn face')}`;
  print(
    `embeddings before and after, ${of}: they differ by ${check.difference === 0 ? 'nothing' : `${check.difference.toExponential(1)} of their length`}, cosine ${check.cosine.toFixed(6)} (${check.by})`,
  );
  if (!check.independent) {
    const install = judges[target.name]?.install;
    print(`unverified by an independent program${install ? `: npm install ${install} has it checked` : ''}`);
  }
  const folders = new Map<string, number[]>();
  for (const { file, bytes } of places) {
    const folder = dirname(file);
    if (folder === dirname(places[0]!.file)) print(`${file}: ${size(bytes.length)}`);
    else folders.set(folder, [...(folders.get(folder) ?? []), bytes.length]);
  }
  for (const [folder, sizes] of folders)
    print(`${folder}: ${counted(sizes.length, 'file')}, ${size(sizes.reduce((a, b) => a + b, 0))}`);
}

export function register(program: Command): void {
  const width = Math.max(...exportTargets.map((t) => t.name.length)) + 2;
  const targets = exportTargets.map((t) => `  ${t.name.padEnd(width)}${t.means}`);
  const command = program
    .command('export')
    .description('write a model for other programs: ONNX, TFLite, a page …')
    .argument('<model>', 'weights that facegrad wrote, or a model of any format that it imports')
    .option('--to <target>', `form of the files (default: by the ending of --out)`)
    .option('--out <file>', 'the file to write; what belongs to it is written beside it')
    .addOption(
      new Option('--preprocessing <where>', 'include: the files take RGB pixels 0..255; leave: what the network takes')
        .choices(['include', 'leave'])
        .default('leave'),
    )
    .option('--calibrate <dir>', 'pictures to find ranges of numbers with, for targets in integers')
    .option('--half', 'weights in half precision, for safetensors, browser and html')
    .option('--overwrite', 'replace files that are there')
    .option('--json', 'what was written, and how it was verified, as JSON')
    .addHelpText('after', `\nTargets:\n${targets.join('\n')}`);
  addDeviceOptions(command).action(run);
}
