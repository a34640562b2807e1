/**
 * TFRecord on disk: one file, a family `name-00000-of-00005` found from any of its shards, or a folder of shards.
 *
 * Written: `name.tfrecord.part`, renamed when complete, so what bears the name is whole; with shards, each has its
 * `.part`, since their number is known at the end alone.
 */
import { existsSync, readdirSync, type Stats, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { DataError, UsageError } from '../../core/errors.ts';
import type { ByteSink, ByteSource } from '../bytes.ts';
import type { Dataset } from '../dataset.ts';
import { fileError, fileSink, fileSource } from '../files.ts';
import { finishPart, partOf } from '../partFile.ts';
import { type ExampleSchema, imageExample } from './example.ts';
import type { CreateOptions, DataFormat, NewImage, SetWriter } from './format.ts';
import { startsRecord, type TfRecordOptions, tfRecordDataset, wholeRecords, writeRecord } from './tfrecord.ts';

export interface TfRecordCreateOptions extends CreateOptions {
  /** How images are stored. Default `jpeg`. `sized` and `raw` decode each image. */
  readonly schema?: ExampleSchema;
  /** Whether features `name` and `identity` are added, which programs that do not know them ignore. Default true. */
  readonly names?: boolean;
  /** Starts a file `name-00000-of-00005.tfrecord` after so many images. Default: all in one file. */
  readonly imagesPerShard?: number;
}

const shardName = /\.tfrecords?(-\d{5}-of-\d{5})?(\.gz|\.zlib)?$|-\d{5}-of-\d{5}(\.gz|\.zlib)?$/i;
const ofFamily = /^(.*-)(\d{5})(-of-)(\d{5})(.*)$/s;

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((n) => !n.startsWith('.') && shardName.test(n))
      .sort();
  } catch (error) {
    throw fileError(folder, 'a readable folder', error);
  }
}

/** All names of the family that a name is of; the name itself where it is of none. */
function familyOf(name: string): string[] {
  const [, before, , of, count, after] = ofFamily.exec(name) ?? [];
  const family = Array.from({ length: Number(count ?? 0) }, (_, i) => `${before}${number(i)}${of}${count}${after}`);
  return family.includes(name) ? family : [name];
}
const number = (i: number) => String(i).padStart(5, '0');

/** The files of the set that a path stands for, in order. Throws DataError naming a shard that is missing. */
function shardsOf(path: string): string[] {
  const folder = stat(path).isDirectory();
  const present = folder ? namesIn(path) : [basename(path)];
  if (present.length === 0)
    throw new DataError(`${path}: expected .tfrecord files in this folder, got none\nCheck the path.`);
  const families = new Map<string, string[]>();
  const covered = new Set<string>();
  for (const name of present) {
    if (covered.has(name)) continue;
    const family = familyOf(name);
    const stem = name.replace(ofFamily, '$1$5');
    const other = families.get(stem);
    if (other)
      throw new DataError(
        `${path}: expected one family of shards of a name, got those of ${other[0]} and of ${name}\nOpen a shard of the family that you mean, or remove the other.`,
      );
    families.set(stem, family);
    for (const n of family) covered.add(n);
  }
  const inside = folder ? path : dirname(path);
  const files = [...families.values()].flat().map((name) => join(inside, name));
  for (const file of files)
    if (!existsSync(file))
      throw new DataError(
        `${file}: expected this shard of its family, but it is missing\nFetch or write it again, or rename the others if it is left out on purpose.`,
      );
  return files;
}

function stat(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw fileError(path, 'a TFRecord file or a folder of them', error);
  }
}

/** A file that is opened when it is first read, since a set may have more shards than a program may hold open. */
function lateFile(path: string): ByteSource {
  let file: Promise<ByteSource> | undefined;
  return {
    name: path,
    size: stat(path).size,
    container: path,
    async read(at, length) {
      file ??= fileSource(path);
      return (await file).read(at, length);
    },
    async close() {
      await (await file)?.close();
      file = undefined;
    },
  };
}

/**
 * Opens a TFRecord file, the whole family of one shard, or a folder of such files. See {@link tfRecordDataset}.
 * @throws DataError naming the file that is missing, damaged or without images
 */
export const openTfRecords = async (path: string, options: TfRecordOptions = {}): Promise<Dataset> =>
  tfRecordDataset(shardsOf(path).map(lateFile), { ...options, name: path });

/** The name of a shard while it is written. */
const shardPart = (path: string, i: number) => partOf(`${path}.${number(i)}`);

/**
 * Writes a TFRecord file, or a family of shards. What an interrupted call left is checked when resuming: whole records
 * stay, the rest is cut off.
 * @throws DataError where a file cannot be written, or where resuming finds other shards than these options make
 */
export async function createTfRecords(path: string, options: TfRecordCreateOptions = {}): Promise<SetWriter> {
  const { schema = 'jpeg', names = true, imagesPerShard: perShard, resume = false } = options;
  if (perShard !== undefined && !(Number.isInteger(perShard) && perShard > 0))
    throw new UsageError(
      `imagesPerShard: expected a whole number from 1 on, got ${perShard}\nLeave it out for one file.`,
    );
  const part = (i: number) => (perShard === undefined ? partOf(path) : shardPart(path, i));
  if (!resume) await removeParts(path);
  let written = 0;
  let shard = 0;
  let inShard = 0;
  let keep = 0;
  while (existsSync(part(shard))) {
    const file = await fileSource(part(shard));
    const { records, bytes } = await wholeRecords(file).finally(() => file.close());
    written += records;
    inShard = records;
    keep = bytes;
    if (perShard === undefined) break;
    const more = existsSync(part(shard + 1));
    if (more ? records !== perShard : records > perShard)
      throw new DataError(
        `${part(shard)}: expected ${perShard} images in this shard of an interrupted call, got ${records}\nResume with the imagesPerShard that it had, or start anew.`,
      );
    if (!more) break;
    shard++;
  }
  let sink: ByteSink = await fileSink(part(shard), keep);
  const end = async () => {
    try {
      await sink.flush();
    } finally {
      await sink.close();
    }
  };
  return {
    written,
    async add(image: NewImage) {
      if (inShard === perShard) {
        await end();
        sink = await fileSink(part(++shard));
        inShard = 0;
      }
      await writeRecord(sink, imageExample(image, schema, names));
      inShard++;
    },
    async finish() {
      await end();
      const [, stem, ending] = /^(.*?)(\.tfrecords?)?$/is.exec(path)!;
      // The last first: a call that resumes after a crash in between finds the first parts, and writes the others again.
      for (let i = shard; i >= 0; i--) {
        const to = perShard === undefined ? path : `${stem}-${number(i)}-of-${number(shard + 1)}${ending ?? ''}`;
        await finishPart(to, part(i));
      }
    },
    abort: () => sink.close(),
  };
}

/** Removes what an interrupted call left, of whichever options. */
async function removeParts(path: string): Promise<void> {
  await rm(partOf(path), { force: true });
  for (let i = 0; existsSync(shardPart(path, i)); i++) await rm(shardPart(path, i));
}

export const tfrecordFormat: DataFormat = {
  name: 'tfrecord',
  means: 'TFRecord files of tf.train.Example, also in shards',
  ending: '.tfrecord',
  holds: { labels: true, names: true, pairs: false, mixed: true, raw: false },
  detect: (path, folder, head) =>
    folder ? namesIn(path).length > 0 : startsRecord(head) || shardName.test(basename(path)),
  open: openTfRecords,
  create: createTfRecords,
};
