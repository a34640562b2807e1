/**
 * RecordIO sets on disk: `NAME.rec` with `NAME.idx`, `NAME.lst` and `property` beside it; a folder with a `train.rec`, as
 * InsightFace's are, is that set. While one is written its files end in `.part`; the `.rec` gets its name last.
 */
import { existsSync, readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UsageError } from '../../core/errors.ts';
import { type ByteSink, type ByteSource, Scan } from '../bytes.ts';
import type { Dataset } from '../dataset.ts';
import { fileError, fileSink, fileSource } from '../files.ts';
import { finishPart, partOf } from '../partFile.ts';
import type { CreateOptions, DataFormat, SetWriter } from './format.ts';
import { startsRecordIO } from './recordio.ts';
import { type RecordIOOptions, recordIODataset } from './recordioSet.ts';
import { type RecordIOState, type RecordIOWriterOptions, recordIOState, recordIOWriter } from './recordioWriter.ts';

const inFolder = 'train.rec';
const isRec = (name: string) => /\.rec$/i.test(name);
const sibling = (path: string, ending: string) => `${path.replace(/\.rec$/i, '')}${ending}`;

/** A folder has one `property`: it is that of `train.rec`, or of the only `.rec`. */
function propertyPath(path: string): string | undefined {
  const name = basename(path);
  const alone = readdirSync(dirname(path)).every((n) => !isRec(n) || n === name);
  return name === inFolder || alone ? join(dirname(path), 'property') : undefined;
}

/** Opens `NAME.rec`, or a folder with `train.rec`, with what lies beside it. See {@link recordIODataset}. */
export async function openRecordIO(path: string, options: RecordIOOptions = {}): Promise<Dataset> {
  const rec = existsSync(join(path, inFolder)) ? join(path, inFolder) : path;
  const opened: ByteSource[] = [];
  const open = async (file: string) => {
    opened.push(await fileSource(file));
    return opened.at(-1)!;
  };
  const beside = async (file: string | undefined) =>
    file && file !== rec && existsSync(file) ? open(file) : undefined;
  try {
    return await recordIODataset(
      {
        rec: await open(rec),
        idx: await beside(sibling(rec, '.idx')),
        lst: await beside(sibling(rec, '.lst')),
        property: await beside(propertyPath(rec)),
      },
      options,
    );
  } finally {
    await Promise.all(opened.map((f) => f.close()));
  }
}

/**
 * Creates `NAME.rec` and its siblings, or goes on with them. See {@link recordIOWriter}. `property` is written unless
 * another `.rec` of the folder claims it.
 * @throws UsageError where the name does not end in `.rec`
 */
export async function createRecordIO(
  path: string,
  { resume = false, ...options }: CreateOptions & Omit<RecordIOWriterOptions, 'resume'> = {},
): Promise<SetWriter> {
  if (!isRec(path))
    throw new UsageError(`${path}: expected a name that ends in .rec\nThe .idx and .lst take the same name.`);
  let property: string | undefined;
  try {
    property = propertyPath(path);
  } catch (error) {
    throw fileError(dirname(path), 'a folder to write to', error);
  }
  const names = { rec: path, idx: sibling(path, '.idx'), lst: sibling(path, '.lst'), property };
  const { state, lstBytes } = resume ? await interrupted(partOf(names.rec), partOf(names.lst)) : nothing;
  const opened: ByteSink[] = [];
  const sink = async (name: string, keep = 0) => {
    opened.push(await fileSink(partOf(name), keep));
    return opened.at(-1)!;
  };
  let writer: SetWriter;
  try {
    writer = recordIOWriter(
      {
        rec: await sink(names.rec, state?.end),
        idx: await sink(names.idx),
        lst: await sink(names.lst, lstBytes),
        property: property === undefined ? undefined : await sink(property),
      },
      { ...options, resume: state },
    );
  } catch (error) {
    await Promise.all(opened.map((s) => s.close()));
    throw error;
  }
  return {
    ...writer,
    async finish(set) {
      await writer.finish(set);
      // An older set's .rec goes first and the new one comes last: none is ever beside an index of the other.
      await rm(path, { force: true });
      for (const name of [names.idx, property, names.lst, names.rec]) if (name) await finishPart(name);
    },
  };
}

interface Interrupted {
  readonly state: RecordIOState | undefined;
  /** Bytes of the `.lst` to keep. */
  readonly lstBytes: number;
}
const nothing: Interrupted = { state: undefined, lstBytes: 0 };

/** The images that are whole both in the `.rec` and in the `.lst` of an interrupted call. */
async function interrupted(rec: string, lst: string): Promise<Interrupted> {
  if (!existsSync(rec) || !existsSync(lst)) return nothing;
  const [records, list] = [await fileSource(rec), await fileSource(lst)];
  try {
    const { lines } = await firstLines(list);
    const state = await recordIOState(records, lines);
    return { state, lstBytes: state ? (await firstLines(list, state.offsets.length)).bytes : 0 };
  } finally {
    await records.close();
    await list.close();
  }
}

/** How many whole lines a file has, at most so many, and the bytes they take. */
async function firstLines(
  source: ByteSource,
  most = Number.POSITIVE_INFINITY,
): Promise<{ lines: number; bytes: number }> {
  const scan = new Scan(source);
  let lines = 0;
  let bytes = 0;
  while (scan.left > 0 && lines < most) {
    const from = scan.at;
    const block = await scan.take(Math.min(scan.left, 1 << 20));
    for (let i = block.indexOf(10); i >= 0 && lines < most; i = block.indexOf(10, i + 1)) {
      lines++;
      bytes = from + i + 1;
    }
  }
  return { lines, bytes };
}

export const recordioFormat: DataFormat = {
  name: 'recordio',
  means: "MXNet's .rec with its .idx, as InsightFace, im2rec and DALI have them",
  ending: '.rec',
  holds: { labels: true, names: true, pairs: false, mixed: true, raw: false },
  detect: (path, folder, head) => (folder ? existsSync(join(path, inFolder)) : isRec(path) || startsRecordIO(head)),
  open: openRecordIO,
  create: createRecordIO,
};
