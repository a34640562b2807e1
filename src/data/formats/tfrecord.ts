/**
 * TFRecord: files of checked records with one tf.train.Example and one image each.
 *
 * The one idea: the file is scanned once for labels and places; an image is then a range of the file, so a set of any
 * size takes some bytes per image, and none of its images.
 * Source: tensorflow/core/lib/io/record_writer.h. Little endian, for each record:
 *
 *     u64 length | u32 masked CRC-32C of these 8 bytes | data | u32 masked CRC-32C of data
 *     masked = (crc rotated right by 15) + 0xa282ead8
 */

import { crc32c } from '../../core/crc32c.ts';
import { DataError } from '../../core/errors.ts';
import { pictureKind } from '../../image/pictureKind.ts';
import { asSource, type ByteSink, type ByteSource, memorySource, type Readable, Scan } from '../bytes.ts';
import type { Dataset, ImageSource } from '../dataset.ts';
import { parseExample } from './example.ts';
import { Growing, lowerBound } from './growing.ts';
import { packingOf, unpack } from './unpack.ts';

const headBytes = 12;
const frameBytes = 16;
/** Larger than any image that is decoded here; a damaged or hostile length does not take memory. */
const mostRecord = 2 ** 29;

function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const hex = (n: number) => `0x${n.toString(16).padStart(8, '0')}`;

/** Whether a file begins with a record: its length's checksum is right. */
export const startsRecord = (head: Uint8Array): boolean =>
  head.length >= headBytes && view(head).getUint32(8, true) === maskedCrc(head.subarray(0, 8));

function checkCrc(name: string, at: number, what: string, bytes: Uint8Array, stored: number): void {
  const found = maskedCrc(bytes);
  if (found !== stored)
    throw new DataError(
      `${name}: expected masked CRC-32C ${hex(stored)} of the ${what} at offset ${at}, got ${hex(found)}\nThe file is damaged or no TFRecord file: fetch or write it again.`,
    );
}

export interface RecordOptions {
  /** Whether each record's data is checked; its length always is. Default true. */
  readonly checkCrc?: boolean;
  /** Called as the file is read, with bytes done. */
  readonly onProgress?: (done: number) => void;
}

/** A record: where its data begins in the file, and the data (a view, not to be written to). */
export interface TfRecord {
  readonly at: number;
  readonly data: Uint8Array;
}

/**
 * The records of an unpacked file, in order.
 * @throws DataError naming file and offset where a checksum is wrong, a length is larger than the file or 512 MiB, or
 * the file ends within a record
 */
export async function* readRecords(source: ByteSource, options: RecordOptions = {}): AsyncGenerator<TfRecord> {
  const { checkCrc: checks = true, onProgress } = options;
  const scan = new Scan(source);
  let told = 0;
  while (scan.left > 0) {
    const start = scan.at;
    const head = await scan.take(headBytes);
    checkCrc(source.name, start, 'length', head.subarray(0, 8), view(head).getUint32(8, true));
    const length = view(head).getUint32(0, true) + 2 ** 32 * view(head).getUint32(4, true);
    if (length > mostRecord || length + 4 > scan.left)
      throw new DataError(
        `${source.name}: expected a record within ${Math.min(mostRecord, Math.max(0, scan.left - 4))} bytes at offset ${start}, got a length of ${length}\nIt may be cut off or damaged: fetch or write it again.`,
      );
    const at = scan.at;
    const bytes = await scan.take(length + 4);
    const data = bytes.subarray(0, length);
    if (checks) checkCrc(source.name, at, 'data', data, view(bytes).getUint32(length, true));
    yield { at, data };
    if (scan.at - told >= 1 << 22 || scan.left === 0) {
      told = scan.at;
      onProgress?.(told);
    }
  }
}

/** A record as it stands in a file, with its checksums. */
export function recordBytes(data: Uint8Array): Uint8Array {
  const record = new Uint8Array(frameBytes + data.length);
  const numbers = view(record);
  numbers.setUint32(0, data.length, true);
  numbers.setUint32(8, maskedCrc(record.subarray(0, 8)), true);
  record.set(data, headBytes);
  numbers.setUint32(headBytes + data.length, maskedCrc(data), true);
  return record;
}

/** Writes a record with its checksums. */
export const writeRecord = (sink: ByteSink, data: Uint8Array): Promise<void> => sink.write(recordBytes(data));

/** How many whole records a file begins with, and how many bytes they take: what is left of an interrupted writing. */
export async function wholeRecords(source: ByteSource): Promise<{ readonly records: number; readonly bytes: number }> {
  let records = 0;
  let bytes = 0;
  try {
    for await (const { at, data } of readRecords(source)) {
      records++;
      bytes = at - headBytes + frameBytes + data.length;
    }
  } catch (error) {
    if (!(error instanceof DataError)) throw error;
  }
  return { records, bytes };
}

export interface TfRecordOptions {
  /** Whether each record's data is checked while scanning; its length always is. Default true. */
  readonly checkCrc?: boolean;
  /** Bytes that all packed shards together may unpack to in memory. Default 1 GiB. */
  readonly mostUnpacked?: number;
  /** Called as shards are scanned, with bytes done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** What the scan keeps of each image. */
class Index {
  readonly at = new Growing(new Float64Array(0));
  readonly bytes = new Growing(new Int32Array(0));
  readonly label = new Growing(new Int32Array(0));
  /** 0 where the bytes are an image file. */
  readonly width = new Growing(new Int32Array(0));
  readonly height = new Growing(new Int32Array(0));
  /** 1 where a name that is made up ends in .png. */
  readonly png = new Growing(new Uint8Array(0));
  /** Names one after another in UTF-8, and where each ends. */
  readonly names = new Growing(new Uint8Array(0));
  readonly nameEnd = new Growing(new Float64Array(0));
  readonly identities = new Map<number, string>();

  add(record: TfRecord, where: string): void {
    const { at, length, label, raw, name, identity } = parseExample(record.data, where);
    this.at.push(record.at + at);
    this.bytes.push(length);
    this.label.push(label);
    this.width.push(raw?.width ?? 0);
    this.height.push(raw?.height ?? 0);
    this.png.push(raw || pictureKind(record.data.subarray(at)) === 'png' ? 1 : 0);
    if (name) this.names.append(name.subarray(0, mostName));
    this.nameEnd.push(this.names.length);
    if (identity && label >= 0 && !this.identities.has(label)) this.identities.set(label, decodeText(identity));
  }
}
/** A name is a path; what is longer is no name. */
const mostName = 4096;
// A copy, since shared memory cannot be decoded everywhere.
const utf8 = new TextDecoder();
const decodeText = (bytes: Uint8Array) => utf8.decode(bytes.slice(0, mostName));

/**
 * Opens TFRecord files as one set, in their order, and closes them when they are scanned. Labels are the files' own;
 * `classes` is the largest and one. Schemas are those of {@link ExampleSchema} and TF-slim's `image/encoded`, told apart for
 * each record. An image without a name gets `000012/00000345.jpg` (label, number), or its number alone where the person is
 * not known. Packed files (gzip, zlib) are unpacked into memory, which other threads share where SharedArrayBuffer is
 * there; of others, images are ranges of the file.
 * @throws DataError naming file and offset where a file is damaged, holds Examples without image or label, or no record at
 * all
 */
export async function tfRecordDataset(
  shards: readonly Readable[],
  options: TfRecordOptions & { readonly name?: string } = {},
): Promise<Dataset> {
  const sources = shards.map((s) => asSource(s));
  const { mostUnpacked = 2 ** 30, onProgress } = options;
  const total = sources.reduce((n, s) => n + s.size, 0);
  const index = new Index();
  const ends: number[] = [];
  const unpacked: (Uint8Array | undefined)[] = [];
  let before = 0;
  let left = mostUnpacked;
  for (const source of sources) {
    const base = before;
    const tell = onProgress && ((done: number) => onProgress(base + done, total));
    try {
      const head = await source.read(0, Math.min(headBytes, source.size));
      // A record's length may look like a packed file's first bytes; its checksum does not.
      const packing = startsRecord(head) ? undefined : packingOf(head);
      const memory = packing && (await unpack(source, packing, left, tell));
      if (memory) left -= memory.length;
      const scanned = memory ? memorySource(memory, source.name) : source;
      const scanOptions = { checkCrc: options.checkCrc ?? true, ...(tell && !memory && { onProgress: tell }) };
      for await (const record of readRecords(scanned, scanOptions))
        index.add(record, `${source.name}: record at offset ${record.at - headBytes}`);
      unpacked.push(memory);
    } finally {
      await source.close();
    }
    ends.push(index.at.length);
    before += source.size;
  }
  const name = options.name ?? sources[0]?.name ?? 'no file';
  if (index.at.length === 0)
    throw new DataError(`${name}: expected TFRecord files with images, got no record\nCheck the path.`);
  return datasetOf(index, sources, unpacked, ends, name);
}

/** The set of an index. Bytes of packed shards are in memory. */
function datasetOf(
  { identities, ...index }: Index,
  sources: readonly ByteSource[],
  unpacked: readonly (Uint8Array | undefined)[],
  ends: readonly number[],
  setName: string,
): Dataset {
  const [at, bytes, label] = [index.at.values, index.bytes.values, index.label.values];
  const [width, height, png] = [index.width.values, index.height.values, index.png.values];
  const [names, nameEnd] = [index.names.values, index.nameEnd.values];
  const classes = label.reduce((most, l) => Math.max(most, l), -1) + 1;
  const digits = Math.max(6, String(classes - 1).length);
  const padded = (l: number) => String(l).padStart(digits, '0');
  const madeUp = (i: number) => {
    const file = `${String(i).padStart(8, '0')}.${png[i] === 1 ? 'png' : 'jpg'}`;
    return label[i]! < 0 ? file : `${padded(label[i]!)}/${file}`;
  };
  return {
    name: setName,
    classes,
    length: at.length,
    label: (i) => label[i]!,
    identityName: (l) => identities.get(l) ?? padded(l),
    imageName: (i) => decodeText(names.subarray(nameEnd[i - 1] ?? 0, nameEnd[i])) || madeUp(i),
    source: (i): ImageSource => {
      const shard = lowerBound(ends, i + 1);
      const from = at[i]!;
      const memory = unpacked[shard];
      const raw = width[i]! > 0 ? { raw: { width: width[i]!, height: height[i]! } } : {};
      const name = `${sources[shard]!.name}: image ${i} at offset ${from}`;
      return memory
        ? { kind: 'bytes', name, bytes: memory.subarray(from, from + bytes[i]!), ...raw }
        : { kind: 'part', name, container: sources[shard]!.container, pieces: [from, bytes[i]!], ...raw };
    },
  };
}
