/**
 * Data: how fast pictures are decoded (next to other decoders, with how far their pixels are apart), read from each format,
 * made into batches, and whether a training step ever waits for them.
 *
 * Decoders other than jpeg-js live in bench/peers and are timed where they are installed there.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { syntheticSet } from '../datasets/synthetic.ts';
import { DataError } from '../src/core/errors.ts';
import { keyOf, permutation } from '../src/core/random.ts';
import type { Dataset, ImageSource } from '../src/data/dataset.ts';
import { createLoader, type LoaderOptions } from '../src/data/load/loader.ts';
import { openDataset } from '../src/data/open.ts';
import { prepare } from '../src/data/prepare/prepare.ts';
import { closeContainers, readBytes, readPicture } from '../src/data/readImage.ts';
import { enableFastKernels } from '../src/device/v8.ts';
import { WasmDevice } from '../src/device/wasm.ts';
import { ArcFace } from '../src/heads/arcFace.ts';
import { augmentPresets } from '../src/image/augment.ts';
import { decodeImage } from '../src/image/decode.ts';
import { encodeJpeg } from '../src/image/encode.ts';
import { MobileFaceNet } from '../src/models/mobileFaceNet.ts';
import { initialize } from '../src/nn/module.ts';
import { resolveRecipe } from '../src/train/recipe.ts';
import { trainingStep } from '../src/train/step.ts';
import { trainable } from '../src/train/trainable.ts';
import { commitOf, loadNow, type MachineBlock, machineBlock, packageRoot } from './machine.ts';
import { ensureInstalled } from './peers/run.ts';
import { bestOf, medianOf, sampleAll } from './sample.ts';
import { columns } from './table.ts';

export interface DataBenchOptions {
  /** JPEG pictures to read; default: synthetic faces, saved as JPEG of quality 95. */
  readonly data?: string;
  /** Seconds for each figure. Default 1; the training steps get twelve times that. */
  readonly seconds?: number;
  readonly rounds?: number;
  /** Pictures a training step takes. Default 64. */
  readonly batch?: number;
  /** Install the other decoders where they are missing. Default false. */
  readonly install?: boolean;
  readonly out?: string;
  readonly print?: (text: string) => void;
  readonly log?: (line: string) => void;
}

export interface DataRow {
  readonly work: string;
  readonly engine: string;
  readonly imagesPerSecond: number;
  /** Milliseconds a picture. */
  readonly bestMs: number;
  readonly medianMs: number;
  /** Largest and mean difference to our pixels, in levels. */
  readonly worst?: number;
  readonly mean?: number;
}

export interface DataReport {
  readonly machine: MachineBlock;
  readonly commit: string | null;
  readonly pictures: number;
  readonly meanBytes: number;
  readonly rows: readonly DataRow[];
  /** Share of the time that training steps waited for their batches, by number of decoding threads. */
  readonly waiting: readonly { readonly workers: number; readonly share: number; readonly imagesPerSecond: number }[];
}

type Decode = (bytes: Uint8Array) => Promise<{ readonly data: Uint8Array; readonly channels: number }>;

/** A package of bench/peers; undefined where it is not installed. */
async function peer<T>(name: string): Promise<T | undefined> {
  try {
    const found = createRequire(join(packageRoot, 'bench/peers/package.json')).resolve(name);
    const loaded = (await import(pathToFileURL(found).href)) as { default: T };
    return loaded.default;
  } catch {
    return undefined;
  }
}

async function decoders(log: (line: string) => void): Promise<[string, Decode][]> {
  const all: [string, Decode][] = [['facegrad', async (b) => ({ data: decodeImage(b, 'picture').data, channels: 3 })]];
  // A development dependency: an installed package has none.
  const jpegJs = await import('jpeg-js').catch(() => undefined);
  if (jpegJs) {
    const { decode } = jpegJs.default;
    all.push([
      'jpeg-js',
      async (b) => ({ data: decode(b, { useTArray: true, formatAsRGBA: false }).data, channels: 3 }),
    ]);
  }
  const turbo = await peer<{ decode(b: Uint8Array): { data: Uint8Array } }>('@cwasm/jpeg-turbo');
  if (turbo) all.push(['@cwasm/jpeg-turbo', async (b) => ({ data: turbo.decode(b).data, channels: 4 })]);
  interface Sharp {
    (b: Uint8Array): { raw(): { toBuffer(): Promise<Uint8Array> } };
    concurrency(n: number): void;
  }
  const sharp = await peer<Sharp>('sharp');
  if (sharp) {
    sharp.concurrency(1);
    all.push(['sharp (native)', async (b) => ({ data: await sharp(b).raw().toBuffer(), channels: 3 })]);
  }
  if (!turbo || !sharp) log('more decoders are compared after npm ci --ignore-scripts in bench/peers');
  return all;
}

/** Largest and mean difference over the pixels of two decoders. */
function difference(a: Uint8Array, b: Uint8Array, channels: number): { worst: number; sum: number } {
  let worst = 0;
  let sum = 0;
  for (let i = 0, p = 0; i < a.length; i += 3, p += channels)
    for (let c = 0; c < 3; c++) {
      const d = Math.abs(a[i + c]! - b[p + c]!);
      worst = Math.max(worst, d);
      sum += d;
    }
  return { worst, sum };
}

const round = (x: number) => Number(x.toPrecision(4));
const rowOf = (work: string, engine: string, ms: readonly number[], pictures: number): DataRow => {
  const best = bestOf(ms) / pictures;
  return {
    work,
    engine,
    imagesPerSecond: round(1000 / best),
    bestMs: round(best),
    medianMs: round(medianOf(ms) / pictures),
  };
};

export async function benchData(options: DataBenchOptions = {}): Promise<DataReport> {
  const { seconds = 1, rounds = 3, batch = 64, print = () => {}, log = () => {} } = options;
  const before = loadNow();
  if (options.install) await ensureInstalled(true, log);
  enableFastKernels();
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-bench-'));
  try {
    const set = await jpegSet(options.data, folder);
    const first = Array.from({ length: Math.min(200, set.length) }, (_, k) =>
      Math.floor((k * set.length) / Math.min(200, set.length)),
    );
    const files: Uint8Array[] = [];
    for (const i of first) files.push((await readBytes(set.source(i))).bytes);
    const meanBytes = Math.round(files.reduce((n, f) => n + f.length, 0) / files.length);
    const rows: DataRow[] = [];
    const show = (some: readonly DataRow[]) => {
      rows.push(...some);
      print(table(some));
    };
    show(await decoding(files, seconds, rounds, log));
    show(await formatsOf(set, folder, seconds, rounds, log));
    show(await batches(set, batch, seconds));
    const waiting = [];
    for (const workers of [1, 2]) waiting.push({ workers, ...(await waitingShare(set, batch, workers, 12 * seconds)) });
    print(
      waiting
        .map(
          (w) =>
            `training steps, batch ${batch}, ${w.workers} decoding thread${w.workers > 1 ? 's' : ''}: ${w.imagesPerSecond.toFixed(1)} images/s, waiting for data ${(100 * w.share).toFixed(2)} % of the time`,
        )
        .join('\n'),
    );
    const report: DataReport = {
      machine: machineBlock([], {}, before),
      commit: commitOf(),
      pictures: files.length,
      meanBytes,
      rows,
      waiting,
    };
    if (options.out) {
      const { rows: _rows, ...rest } = report;
      const lines = rows.map((r) => `    ${JSON.stringify(r)}`).join(',\n');
      writeFileSync(
        options.out,
        `${JSON.stringify(rest, null, 2).replace(/\n}$/, '')},\n  "rows": [\n${lines}\n  ]\n}\n`,
      );
    }
    return report;
  } finally {
    await closeContainers();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The pictures to measure with: a data set of JPEG files. */
async function jpegSet(path: string | undefined, folder: string): Promise<Dataset> {
  if (path === undefined) {
    const drawn = syntheticSet({ identities: 40, imagesPerIdentity: 10 });
    const bytes: Uint8Array[] = [];
    for (let i = 0; i < drawn.length; i++) bytes.push(encodeJpeg(await readPicture(drawn.source(i)), 95));
    const source = (i: number): ImageSource => ({ kind: 'bytes', name: drawn.imageName(i), bytes: bytes[i]! });
    // Through a file, so that what is measured is reading, too.
    const saved = join(folder, 'synthetic.faces');
    await writeSet({ ...drawn, source }, saved);
    return openDataset(saved);
  }
  const set = await openDataset(path);
  const { bytes } = await readBytes(set.source(0));
  if (!(bytes[0] === 0xff && bytes[1] === 0xd8))
    throw new DataError(
      `${path}: expected JPEG pictures, since their decoding is measured, got others\nName another set, or none.`,
    );
  return set;
}

async function writeSet(set: Dataset, path: string): Promise<void> {
  const { createPacked } = await import('../src/data/formats/packedFormat.ts');
  const writer = await createPacked(path);
  for (let i = 0; i < set.length; i++) {
    const { bytes } = await readBytes(set.source(i));
    const label = set.label(i);
    await writer.add({ name: set.imageName(i), label, identity: set.identityName(label), bytes });
  }
  await writer.finish({ identities: Array.from({ length: set.classes }, (_, l) => set.identityName(l)) });
}

async function decoding(
  files: readonly Uint8Array[],
  seconds: number,
  rounds: number,
  log: (line: string) => void,
): Promise<DataRow[]> {
  const engines = await decoders(log);
  const works = engines.map(([name, decode]) => ({
    name,
    async run() {
      for (const f of files) await decode(f);
      return undefined;
    },
  }));
  const times = await sampleAll(works, { seconds, rounds });
  const rows: DataRow[] = [];
  for (const [k, [name, decode]] of engines.entries()) {
    let worst = 0;
    let sum = 0;
    let count = 0;
    for (const f of files) {
      const own = decodeImage(f, 'picture').data;
      const { data, channels } = await decode(f);
      const d = difference(own, data, channels);
      worst = Math.max(worst, d.worst);
      sum += d.sum;
      count += own.length;
    }
    rows.push({ ...rowOf('decode JPEG', name, times[k]!, files.length), worst, mean: round(sum / count) });
  }
  return rows;
}

/** Stored bytes of pictures in random order, from each format; the operating system has the files in memory. */
async function formatsOf(
  set: Dataset,
  folder: string,
  seconds: number,
  rounds: number,
  log: (line: string) => void,
): Promise<DataRow[]> {
  const source = join(folder, 'all.faces');
  await writeSet(set, source);
  const targets = [source];
  for (const name of ['all', 'all.rec', 'all.tfrecord']) {
    log(`writing ${name}`);
    await prepare({ sources: [source], out: join(folder, name), workers: 0 });
    targets.push(join(folder, name));
  }
  const works = [];
  for (const path of targets) {
    const opened = await openDataset(path);
    const order = permutation(keyOf(1), opened.length);
    works.push({
      name: path.slice(folder.length + 1),
      pictures: opened.length,
      async run() {
        for (const i of order) await readBytes(opened.source(i));
        return undefined;
      },
    });
  }
  const times = await sampleAll(works, { seconds, rounds });
  return works.map((w, k) =>
    rowOf('read bytes, random order', w.name === 'all' ? 'folder' : w.name.slice(3), times[k]!, w.pictures),
  );
}

/** Batches as fast as they come, nothing kept from epoch to epoch. */
async function batches(set: Dataset, batch: number, seconds: number): Promise<DataRow[]> {
  const rows: DataRow[] = [];
  const kinds: [string, Partial<LoaderOptions>][] = [
    ['flip', { flip: true }],
    ['augment light', { augment: augmentPresets.light }],
    ['augment strong', { augment: augmentPresets.strong }],
  ];
  for (const workers of [1, availableParallelism()])
    for (const [name, more] of kinds) {
      const loader = createLoader({
        dataset: set,
        batch,
        size: [112, 112],
        key: keyOf(1),
        workers,
        cacheBytes: 0,
        ...more,
      });
      const times: number[] = [];
      await loader.next();
      for (const until = performance.now() + 1000 * seconds; performance.now() < until || times.length < 3; ) {
        const start = performance.now();
        // More at a time than are prepared ahead.
        for (let i = 0; i < 4; i++) await loader.next();
        times.push((performance.now() - start) / 4);
      }
      await loader.close();
      rows.push(rowOf(`batches, ${name}`, `${workers} thread${workers > 1 ? 's' : ''}`, times, batch));
    }
  return rows;
}

/** Real training steps of MobileFaceNet fed by the loader, every picture decoded: the share of time that they waited. */
async function waitingShare(
  set: Dataset,
  batch: number,
  workers: number,
  seconds: number,
): Promise<{ share: number; imagesPerSecond: number }> {
  const recipe = resolveRecipe('mobilefacenet-arcface', { batch });
  const device = await WasmDevice.create({ threads: Math.min(2, availableParallelism()) });
  const t = trainable(initialize(new MobileFaceNet(), 1), initialize(new ArcFace({ classes: set.classes }), 1), recipe);
  const step = trainingStep(t, recipe, device);
  const loader = createLoader({
    dataset: set,
    batch,
    size: [112, 112],
    key: keyOf(1),
    flip: true,
    workers,
    cacheBytes: 0,
  });
  const one = async () => {
    const { images, labels } = await loader.next();
    await step.run(images, labels, 0.001);
  };
  await one();
  await one();
  const waited = loader.waitedMs;
  const start = performance.now();
  let steps = 0;
  for (; performance.now() - start < 1000 * seconds || steps < 3; steps++) await one();
  const ms = performance.now() - start;
  const share = (loader.waitedMs - waited) / ms;
  await loader.close();
  step.dispose();
  await device.dispose();
  return { share: round(share), imagesPerSecond: round((1000 * steps * batch) / ms) };
}

function table(rows: readonly DataRow[]): string {
  const differs = rows.some((r) => r.worst !== undefined);
  return `${columns([
    ['work', 'by', 'best ms', 'median ms', 'images/s', ...(differs ? ['worst level', 'mean level'] : [])],
    ...rows.map((r) => [
      r.work,
      r.engine,
      r.bestMs.toPrecision(3),
      r.medianMs.toPrecision(3),
      r.imagesPerSecond.toFixed(0),
      ...(differs ? [String(r.worst ?? ''), (r.mean ?? 0).toFixed(3)] : []),
    ]),
  ])}\n`;
}
