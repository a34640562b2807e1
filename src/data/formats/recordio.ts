/**
 * MXNet's RecordIO, record by record: how one lies in a `.rec`, and the image header in it. What a set of them is, is
 * recordioSet.ts; writing is recordioWriter.ts.
 *
 * The one idea: chunks can be found again from any damaged place because their magic number never stands inside one: where
 * it does in the data, the data is cut there and the reader puts it back.
 * Source: dmlc-core, include/dmlc/recordio.h; mxnet/recordio.py. Little endian, each chunk padded with zeros to 4 bytes:
 *
 *     chunk    u32 magic ced7230a | u32 part << 29 | length | data      part: 0 a whole record, 1 its first, 2 a middle, 3 its last
 *     record   u32 flag | f32 label | u64 id | u64 id2 | flag × f32 labels | content (a JPEG or PNG file)
 *
 * With flag 0 the label is the scalar, else the first of the labels. A record is below 2^29 bytes.
 */
import { DataError } from '../../core/errors.ts';
import { type ByteSink, type ByteSource, memorySink, Scan } from '../bytes.ts';
import { Growing } from './growing.ts';

const magic = 0xced7230a;
const magicBytes = Uint8Array.of(0x0a, 0x23, 0xd7, 0xce);
/** Bytes of a record are fewer. */
export const mostRecord = 2 ** 29;
/** Whole numbers up to here are exact as float32, which labels are. */
export const exactFloat = 2 ** 24;
const headBytes = 24;

const view = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset, b.byteLength);
const damaged = 'It is damaged, cut off, or no RecordIO file: fetch or write it again.';

/** Whether a file begins as RecordIO does. */
export const startsRecordIO = (head: Uint8Array): boolean =>
  head.length >= 8 && magicBytes.every((b, i) => head[i] === b);

/** What the beginning of a record says. */
export interface RecordHead {
  /** Offset of its first chunk in the file. */
  readonly at: number;
  /** Offset behind it, padding included, which a file that ends there may lack. */
  readonly end: number;
  readonly flag: number;
  readonly label: number;
  /** The second of the labels, NaN where there are fewer. */
  readonly label2: number;
  readonly id: number;
  /** Bytes of its content. */
  readonly content: number;
}

/** Whether a record is one of those by which InsightFace describes a set: two labels and no image. */
export const isLayout = ({ flag, content }: RecordHead): boolean => flag >= 2 && content === 0;

/** The head of the chunk that comes next. */
async function chunk(scan: Scan): Promise<{ part: number; length: number }> {
  const at = scan.at;
  const v = view(await scan.take(8));
  if (v.getUint32(0, true) !== magic)
    throw new DataError(
      `${scan.source.name}: expected the RecordIO magic 0xced7230a at offset ${at}, got 0x${v.getUint32(0, true).toString(16).padStart(8, '0')}\n${damaged}`,
    );
  const word = v.getUint32(4, true);
  return { part: word >>> 29, length: word & (mostRecord - 1) };
}

const padding = (length: number) => -length & 3;
/** Padding that the end of a file lacks is not missed. */
const skipPadding = (scan: Scan, length: number) => scan.skip(Math.min(scan.left, padding(length)));

/** All bytes of the record at an offset, its parts joined, and where it ends. `guess`: bytes to read at once. */
async function wholeRecord(source: ByteSource, at: number, guess: number) {
  const scan = new Scan(source, at, guess);
  const wrong = (what: string) => new DataError(`${source.name}: expected ${what} at offset ${at}\n${damaged}`);
  const first = await chunk(scan);
  if (first.part > 1) throw wrong(`the first part of a record, got part ${first.part},`);
  const start = await scan.take(first.length);
  skipPadding(scan, first.length);
  if (first.part === 0) return { bytes: start, end: at + 8 + first.length + padding(first.length) };
  const joined = memorySink();
  await joined.write(start);
  for (;;) {
    const { part, length } = await chunk(scan);
    if (part !== 2 && part !== 3) throw wrong(`the parts of a record in order, got part ${part} behind others,`);
    if (joined.size + 4 + length >= mostRecord) throw wrong('a record below 2^29 bytes, got a longer one,');
    await joined.write(magicBytes);
    await joined.write(await scan.take(length));
    if (part === 3) return { bytes: joined.bytes(), end: scan.at + padding(length) };
    skipPadding(scan, length);
  }
}

/** `start`: at least the first 32 bytes of a record of `length`, or all. */
function parseHead(name: string, at: number, end: number, start: Uint8Array, length: number): RecordHead {
  const v = view(start);
  const flag = length < headBytes ? 0 : v.getUint32(0, true);
  const content = length - headBytes - 4 * flag;
  if (content < 0)
    throw new DataError(
      `${name}: expected a record of ${headBytes + 4 * flag} bytes or more at offset ${at}, with its header and ${flag} labels, got ${length}\nIt is damaged, or its records are no images.`,
    );
  return {
    at,
    end,
    flag,
    label: v.getFloat32(flag > 0 ? headBytes : 4, true),
    label2: flag > 1 ? v.getFloat32(headBytes + 4, true) : Number.NaN,
    id: v.getUint32(8, true) + 2 ** 32 * v.getUint32(12, true),
    content,
  };
}

/** The beginning of a record in parts at an offset: its head and two labels, or all where it is shorter. */
async function beginning(source: ByteSource, at: number): Promise<{ start: Uint8Array; whole: boolean }> {
  const scan = new Scan(source, at, 64);
  const start = new Growing(new Uint8Array(0));
  for (let first = true; ; first = false) {
    const { part, length } = await chunk(scan);
    if (first ? part !== 1 : part !== 2 && part !== 3)
      throw new DataError(
        `${source.name}: expected the parts of a record in order at offset ${at}, got part ${part}\n${damaged}`,
      );
    if (!first) start.append(magicBytes);
    start.append(await scan.take(Math.min(length, headBytes + 8)));
    if (part === 3 || start.length >= headBytes + 8) return { start: start.values, whole: part === 3 };
    skipPadding(scan, length);
  }
}

/**
 * The head of the record that comes next, for what jumps from record to record: of one in parts, which may be long and may be
 * jumped to often, no more than that is read. Its end is then not known, nor how much content it has, only that there is some.
 */
export async function headAlone(scan: Scan): Promise<RecordHead> {
  const at = scan.at;
  const { part } = await chunk(scan);
  scan.at = at;
  if (part === 0) return nextHead(scan);
  const { start, whole } = await beginning(scan.source, at);
  const short = whole && start.length < headBytes + 8;
  return parseHead(scan.source.name, at, at, start, short ? start.length : Number.POSITIVE_INFINITY);
}

/** The head of the record that comes next; goes on behind the record, of whose content no more than a block is read. */
export async function nextHead(scan: Scan): Promise<RecordHead> {
  const at = scan.at;
  const { part, length } = await chunk(scan);
  if (part !== 0) {
    const { bytes, end } = await wholeRecord(scan.source, at, 1 << 16);
    scan.at = Math.min(end, scan.source.size);
    return parseHead(scan.source.name, at, end, bytes, bytes.length);
  }
  const start = await scan.take(Math.min(length, headBytes + 8));
  scan.skip(length - start.length);
  skipPadding(scan, length);
  return parseHead(scan.source.name, at, at + 8 + length + padding(length), start, length);
}

/**
 * Calls `visit` with each record of a file in order; it returns false to stop. Reads forward in blocks.
 * @throws DataError naming file and offset where it is damaged or ends within a record
 */
export async function scanRecords(
  source: ByteSource,
  visit: (head: RecordHead) => boolean | undefined,
  onProgress?: (done: number, total: number) => void,
): Promise<void> {
  const scan = new Scan(source);
  let told = 0;
  while (scan.left > 0) {
    if (visit(await nextHead(scan)) === false) return;
    if (onProgress && (scan.at - told >= 1 << 24 || scan.left === 0)) {
      told = scan.at;
      onProgress(told, source.size);
    }
  }
}

/**
 * The content of the record at an offset, such as a JPEG file. `guess`: bytes that one read takes; a longer record
 * takes a second.
 * @throws DataError naming file and offset
 */
export async function recordContent(source: ByteSource, at: number, guess: number): Promise<Uint8Array> {
  const { bytes, end } = await wholeRecord(source, at, guess);
  const { content } = parseHead(source.name, at, end, bytes, bytes.length);
  return bytes.subarray(bytes.length - content);
}

/**
 * Writes a record: label(s), id and content. One label is written as the scalar, several as a list.
 * @returns its offset
 * @throws DataError where it has 2^29 bytes or more
 */
export async function writeRecordIO(
  sink: ByteSink,
  id: number,
  labels: readonly number[],
  content: Uint8Array,
): Promise<number> {
  const at = sink.size;
  const flag = labels.length === 1 ? 0 : labels.length;
  const length = headBytes + 4 * flag + content.length;
  if (length >= mostRecord)
    throw new DataError(
      `${sink.name}: expected records below 2^29 bytes, got ${length} for record ${id}\nRecordIO holds none larger: make the image smaller.`,
    );
  // Behind the record, room for its padding.
  const bytes = new Uint8Array(length + padding(length));
  const v = view(bytes);
  v.setUint32(0, flag, true);
  v.setFloat32(4, flag === 0 ? labels[0]! : 0, true);
  v.setUint32(8, id % 2 ** 32, true);
  v.setUint32(12, Math.floor(id / 2 ** 32), true);
  for (let k = 0; k < flag; k++) v.setFloat32(headBytes + 4 * k, labels[k]!, true);
  bytes.set(content, length - content.length);

  const put = async (part: number, from: number, to: number, end = to) => {
    const head = new Uint8Array(8);
    head.set(magicBytes);
    view(head).setUint32(4, part * mostRecord + to - from, true);
    await sink.write(head);
    await sink.write(bytes.subarray(from, end));
  };
  let from = 0;
  for (let i = 0; i + 4 <= length; i += 4) {
    if (v.getUint32(i, true) !== magic) continue;
    await put(from === 0 ? 1 : 2, from, i);
    from = i + 4;
  }
  await put(from === 0 ? 0 : 3, from, length, bytes.length);
  return at;
}
