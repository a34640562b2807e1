/**
 * MXNet RecordIO image sets (`.rec` with `.idx`, `.lst`, `property`) as data sets: those of InsightFace, im2rec, DALI.
 *
 * The one idea: an image is the offset of its record and its label, 12 bytes; what else a record says is read when the image
 * is. InsightFace's layout gives the labels of whole ranges of images, so that opening its file reads a head for each
 * identity; without that layout the heads of all records are read, and without an index they are looked for.
 *
 * InsightFace's layout: images have keys 1 to N, the record of key 0 holds [N+1, N+1+I], and the I records from key N+1 on
 * hold [first image, last + 1] of an identity each; these have flag 2 and no content. As float32 they are exact up to 2^24:
 * images beyond are asked for their own labels.
 */
import { DataError } from '../../core/errors.ts';
import { asSource, type ByteSource, type Readable, Scan } from '../bytes.ts';
import type { Dataset } from '../dataset.ts';
import { folderNames } from '../people.ts';
import { ascendingOrder, Growing, lowerBound } from './growing.ts';
import { lineBlocks } from './lines.ts';
import { exactFloat, headAlone, isLayout, type RecordHead, scanRecords } from './recordio.ts';
import { type RecordList, readRecordList } from './recordioList.ts';

export interface RecordIOFiles {
  readonly rec: Readable;
  /** `key offset` lines. Without it the file is scanned, and the ids in its records are the keys. */
  readonly idx?: Readable | undefined;
  /** Gives names; see recordioList.ts for its two layouts. */
  readonly lst?: Readable | undefined;
  /** InsightFace's `classes,height,width`. Gives `classes`. */
  readonly property?: Readable | undefined;
}

export interface RecordIOOptions {
  /** Takes the records before the first damaged one instead of refusing the file; the index is then not used. Default false. */
  readonly recover?: boolean | undefined;
  /** Called with bytes done and in all while heads are read. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Records by ascending key. */
interface Found {
  readonly keys: Float64Array;
  readonly at: Float64Array;
  readonly labels: Int32Array;
  readonly note?: string;
}

/** Labels of records whose head is yet to be read, and of those that are no images. */
const unread = -(2 ** 31);
const noImage = unread + 1;

const labelAdvice = 'Write the set with whole labels that count from 0, or -1 where the person is not known.';
function labelOf(name: string, { label, at }: RecordHead): number {
  if (Number.isInteger(label) && label >= -1 && label < exactFloat) return label;
  throw new DataError(
    `${name}: expected a whole label from -1 to ${exactFloat - 1} in the record at offset ${at}, got ${label}\n${labelAdvice}`,
  );
}

/** A file that is there; called by its own name where it has one. */
function sourceOf(files: RecordIOFiles, kind: keyof RecordIOFiles): ByteSource {
  const file = files[kind]!;
  return asSource(file, ('name' in file && (file.name as string)) || kind);
}

/**
 * Opens an image set in RecordIO. Labels are the file's; `classes` is that of `property`, else the highest label and one,
 * so labels that are left out of a subset stay as gaps. Images are in the order of their keys, and named by the `.lst`, or
 * `label/key.jpg`. Of several labels the first counts.
 * @throws DataError naming file and offset (or line) where the files are damaged or do not fit each other
 */
export async function recordIODataset(files: RecordIOFiles, options: RecordIOOptions = {}): Promise<Dataset> {
  const rec = sourceOf(files, 'rec');
  const { recover = false, onProgress } = options;
  const found =
    files.idx && !recover
      ? await indexed(rec, sourceOf(files, 'idx'), onProgress)
      : await scanned(rec, recover, onProgress);
  const { keys, at, labels } = onlyImages(found);
  const length = keys.length;
  if (length === 0)
    throw new DataError(
      `${rec.name}: expected records of images, got none\nIt is empty or no image set: fetch or write it again.`,
    );
  const highest = labels.reduce((m, l) => Math.max(m, l), -1);
  const classes = files.property ? await statedClasses(sourceOf(files, 'property'), rec.name, highest) : highest + 1;

  const list = files.lst ? await readRecordList(sourceOf(files, 'lst')) : undefined;
  const rows = list && matchedRows(list, rec.name, keys, labels);
  const width = Math.max(6, String(Math.max(0, classes - 1)).length);
  const padded = (label: number) => String(label).padStart(width, '0');
  const imageName = (i: number) => {
    if (list && rows![i]! >= 0) return list.path(rows![i]!);
    const file = `${String(keys[i]).padStart(8, '0')}.jpg`;
    return labels[i]! < 0 ? file : `${padded(labels[i]!)}/${file}`;
  };
  const people = list && folderNames(labels, imageName);
  const guess = Math.min(1 << 20, Math.max(1 << 12, Math.ceil((1.5 * rec.size) / length)));
  return {
    name: rec.name,
    classes,
    length,
    ...(found.note ? { note: found.note } : {}),
    label: (i) => labels[i]!,
    identityName: (label) => people?.get(label) ?? padded(label),
    imageName,
    source: (i) => ({
      kind: 'record',
      name: `${rec.name}: record ${keys[i]} at offset ${at[i]} (${imageName(i)})`,
      container: rec.container,
      at: at[i]!,
      guess,
    }),
    ...(list?.hasLandmarks
      ? { landmarks: (i: number) => (rows![i]! < 0 ? undefined : list.landmarks(rows![i]!)) }
      : {}),
  };
}

function onlyImages({ keys, at, labels }: Found): Found {
  if (!labels.includes(noImage)) return { keys, at, labels };
  const kept = (_: number, i: number) => labels[i] !== noImage;
  return { keys: keys.filter(kept), at: at.filter(kept), labels: labels.filter((l) => l !== noImage) };
}

/** Reads every record's head. */
async function scanned(rec: ByteSource, recover: boolean, onProgress: RecordIOOptions['onProgress']): Promise<Found> {
  const ids = new Growing(new Float64Array(0));
  const at = new Growing(new Float64Array(0));
  const labels = new Growing(new Int32Array(0));
  let note: string | undefined;
  try {
    await scanRecords(
      rec,
      (head) => {
        if (isLayout(head)) return;
        labels.push(labelOf(rec.name, head));
        ids.push(head.id);
        at.push(head.at);
      },
      onProgress,
    );
  } catch (error) {
    if (!recover || !(error instanceof DataError)) throw error;
    note = `${error.message.split('\n')[0]}; the ${labels.length} images before it are there`;
  }
  const order = ascendingOrder(ids.values);
  const sorted = order ? Float64Array.from(order, (k) => ids.values[k]!) : ids.values;
  const found = { at: at.values, labels: labels.values, ...(note ? { note } : {}) };
  // Ids that do not tell records apart (some writers leave 0 in all) are no keys: records are then counted from 0.
  if (sorted.some((id, i) => i > 0 && id === sorted[i - 1])) return { ...found, keys: sorted.map((_, i) => i) };
  if (!order) return { ...found, keys: sorted };
  return {
    ...found,
    keys: sorted,
    at: Float64Array.from(order, (k) => at.values[k]!),
    labels: Int32Array.from(order, (k) => labels.values[k]!),
  };
}

/** Takes records from an index, their labels from InsightFace's layout as far as it goes, the others from their heads. */
async function indexed(rec: ByteSource, idx: ByteSource, onProgress: RecordIOOptions['onProgress']): Promise<Found> {
  const { keys, at } = await readIndex(idx, rec);
  const labels = new Int32Array(keys.length).fill(unread);
  const heads = new Scan(rec, 0, 64);
  const headAt = (offset: number) => {
    heads.at = offset;
    return headAlone(heads);
  };
  const zero = keys[0] === 0 ? await headAt(at[0]!) : undefined;
  if (zero && isLayout(zero)) {
    labels[0] = noImage;
    await labelRanges(rec, zero, { keys, at, labels }, headAt, onProgress);
  }
  await labelEach(rec, { keys, at, labels }, onProgress);
  return { keys, at, labels };
}

async function readIndex(idx: ByteSource, rec: ByteSource): Promise<{ keys: Float64Array; at: Float64Array }> {
  const keys = new Growing(new Float64Array(0));
  const at = new Growing(new Float64Array(0));
  let lineNumber = 0;
  for await (const lines of lineBlocks(idx))
    for (const line of lines) {
      lineNumber++;
      const fields = /^\s*(\d{1,15})(?:\.0*)?[\t ]+(\d{1,15})\s*$/.exec(line);
      if (!fields) {
        if (line.trim() === '') continue;
        throw new DataError(
          `${idx.name}:${lineNumber}: expected 'key offset', two whole numbers, got '${line.slice(0, 80)}'\nRemove the file: the .rec is then scanned for its records.`,
        );
      }
      const offset = Number(fields[2]);
      if (offset + 8 > rec.size)
        throw new DataError(
          `${idx.name}:${lineNumber}: expected an offset within the ${rec.size} bytes of ${rec.name}, got ${offset}\nThe index is of another file, or the .rec is cut off: fetch them again. Without the index, the .rec is scanned.`,
        );
      keys.push(Number(fields[1]));
      at.push(offset);
    }
  const order = ascendingOrder(keys.values);
  const sorted = order ? Float64Array.from(order, (k) => keys.values[k]!) : keys.values;
  const twice = sorted.findIndex((key, i) => i > 0 && key === sorted[i - 1]);
  if (twice >= 0)
    throw new DataError(
      `${idx.name}: expected each key once, got ${sorted[twice]} again\nRemove the file: the .rec is then scanned for its records.`,
    );
  return { keys: sorted, at: order ? Float64Array.from(order, (k) => at.values[k]!) : at.values };
}

/** Labels the images of InsightFace's identity records, by the label of each range's first image. */
async function labelRanges(
  rec: ByteSource,
  zero: RecordHead,
  { keys, at, labels }: Found,
  headAt: (offset: number) => Promise<RecordHead>,
  onProgress: RecordIOOptions['onProgress'],
): Promise<void> {
  const { label: first, label2: end } = zero;
  const wrong = (where: number, expected: string, got: RecordHead) =>
    new DataError(
      `${rec.name}: expected ${expected} in the record at offset ${where}, got [${got.label}, ${got.label2}]\nIt is damaged. Without its index (.idx) the labels are read from the images.`,
    );
  if (!(first >= 1 && end >= first)) throw wrong(zero.at, 'the keys of identities as labels', zero);
  const records = new Scan(rec, 0, 1 << 16);
  let covered = 0;
  // Beyond 2^24 these are rounded: what is passed over here says later itself that it is no image, or which label it has.
  const beyond = lowerBound(keys, end);
  for (let i = lowerBound(keys, first); i < beyond; i++) {
    records.at = at[i]!;
    const head = await headAlone(records);
    if (!isLayout(head)) continue;
    labels[i] = noImage;
    const { label: from, label2: to } = head;
    if (to > exactFloat) continue;
    if (!(Number.isInteger(from) && Number.isInteger(to) && from >= Math.max(1, covered) && to >= from && to <= first))
      throw wrong(head.at, `a range of image keys from ${Math.max(1, covered)} to ${first}`, head);
    covered = to;
    const [a, b] = [lowerBound(keys, from), lowerBound(keys, to)];
    if (a === b) continue;
    labels.fill(labelOf(rec.name, await headAt(at[a]!)), a, b);
    if (i % 1024 === 0) onProgress?.(Math.min(heldTo(at, b), rec.size), rec.size);
  }
}
const heldTo = (at: Float64Array, image: number) => at[Math.min(image, at.length - 1)]!;

/** Labels what is still unread from each record's own head, forward through the file. */
async function labelEach(
  rec: ByteSource,
  { at, labels }: Found,
  onProgress: RecordIOOptions['onProgress'],
): Promise<void> {
  const left = labels.reduce((n, l) => n + (l === unread ? 1 : 0), 0);
  if (left === 0) return;
  const order = ascendingOrder(at);
  // A block holds several heads, or is not worth reading.
  const scan = new Scan(rec, 0, rec.size / left < 1 << 16 ? 1 << 20 : 64);
  let told = 0;
  for (let k = 0; k < at.length; k++) {
    const i = order ? order[k]! : k;
    if (labels[i] !== unread) continue;
    scan.at = at[i]!;
    const head = await headAlone(scan);
    labels[i] = isLayout(head) ? noImage : labelOf(rec.name, head);
    if (onProgress && scan.at - told >= 1 << 24) {
      told = scan.at;
      onProgress(told, rec.size);
    }
  }
  onProgress?.(rec.size, rec.size);
}

async function statedClasses(property: ByteSource, rec: string, highest: number): Promise<number> {
  const text = new TextDecoder().decode(await property.read(0, Math.min(property.size, 4096)));
  const classes = Number(/^\s*(\d{1,8})\s*,\s*\d+\s*,\s*\d+\s*$/m.exec(text)?.[1]);
  if (Number.isInteger(classes) && classes > highest && classes <= exactFloat) return classes;
  throw new DataError(
    Number.isInteger(classes)
      ? `${property.name}: expected more than the highest label, ${highest}, and at most ${exactFloat} classes, got ${classes}\nIt is of another set than ${rec}: correct or remove it.`
      : `${property.name}: expected 'classes,height,width', got '${text.slice(0, 80)}'\nCorrect or remove it.`,
  );
}

/** The row of each image in a list that fits. */
function matchedRows(list: RecordList, rec: string, keys: Float64Array, labels: Int32Array): Int32Array {
  const advice = `It is of another set than ${rec}: remove or rename it. Names are then made from labels and keys.`;
  if (list.byPosition && list.length !== keys.length)
    throw new DataError(
      `${list.name}: expected a line for each of ${keys.length} images, got ${list.length}\n${advice}`,
    );
  return labels.map((label, i) => {
    const row = list.row(i, keys[i]!);
    if (row >= 0 && list.label(row) !== label)
      throw new DataError(
        `${list.name}: expected label ${label} for the image of key ${keys[i]}, as in ${rec}, got ${list.label(row)}\n${advice}`,
      );
    return row;
  });
}
