/**
 * Sorted string tables, LevelDB's file of keys and values, which TensorFlow's checkpoints keep their index in.
 *
 * The one idea: a table is read from its end: the footer names the index block, that names the data blocks, and a block is a
 * run of entries whose keys leave out what they share with the key before. Everything is checked against the file's size and
 * its checksums, so a damaged table is refused before its entries mean anything.
 * Source: tensorflow/core/lib/io/{table,block,format}.cc; leveldb's doc/table_format.md.
 *
 *     block: entries, restarts (u32 each), their count (u32)    then kind (u8: 0 plain, 1 snappy) and masked CRC-32C (u32)
 *     entry: shared, unshared, length of the value (varints), rest of the key, value
 *     footer: handles (offset, size: varints) of metaindex and index, up to 40 bytes; 8 bytes magic
 */
import { crc32c } from '../../core/crc32c.ts';
import { DataError } from '../../core/errors.ts';

const footerLength = 48;
const magic = 0xdb4775248b80fb57n;

/** TensorFlow stores a checksum turned and shifted, since a checksum of data that holds checksums is weak. */
export const unmasked = (masked: number): number => {
  const rotated = (masked - 0xa282ead8) >>> 0;
  return ((rotated >>> 17) | (rotated << 15)) >>> 0;
};

/** Whether bytes end as a table does. */
function isSortedTable(bytes: Uint8Array): boolean {
  if (bytes.length < footerLength) return false;
  return new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 8, 8).getBigUint64(0, true) === magic;
}

/** Varints one after another in a part of the file. */
class Varints {
  at: number;
  private readonly bytes: Uint8Array;
  private readonly fail: (what: string) => never;
  constructor(bytes: Uint8Array, fail: (what: string) => never, at = 0) {
    this.bytes = bytes;
    this.fail = fail;
    this.at = at;
  }
  next(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++];
      if (byte === undefined || scale > 2 ** 56) return this.fail('a number runs past the end of its block');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
}

/**
 * The entries of a table in order of their keys; values are views of the file.
 * @param source what errors call it
 * @throws DataError for what is no table, damaged, or compressed
 */
export function readSortedTable(bytes: Uint8Array, source: string): [key: string, value: Uint8Array][] {
  const fail = (what: string): never => {
    throw new DataError(
      `${source}: expected a TensorFlow checkpoint's index (a sorted table), but ${what}\nThe file is cut off or damaged: fetch it again.`,
    );
  };
  if (!isSortedTable(bytes)) fail(`its last 8 of ${bytes.length} bytes are not a table's`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const block = (at: number, size: number): Uint8Array => {
    if (!(at + size + 5 <= bytes.length - footerLength)) fail(`a block of ${size} bytes at ${at} is not in it`);
    if (bytes[at + size] === 1)
      throw new DataError(
        `${source}: expected a TensorFlow checkpoint's index without compression, got one compressed by snappy\nSave the checkpoint again with a current TensorFlow (tf.train.Saver, write_version V2).`,
      );
    if (bytes[at + size] !== 0) fail(`the block at ${at} is of an unknown kind ${bytes[at + size]}`);
    if (crc32c(bytes.subarray(at, at + size + 1)) !== unmasked(view.getUint32(at + size + 1, true)))
      fail(`the checksum of the block at ${at} differs`);
    return bytes.subarray(at, at + size);
  };
  const footer = new Varints(bytes.subarray(bytes.length - footerLength, bytes.length - 8), fail);
  footer.next();
  footer.next();
  const index = entries(block(footer.next(), footer.next()), fail);
  let end = 0;
  return index.flatMap(([, handle]) => {
    const where = new Varints(handle, fail);
    const [at, size] = [where.next(), where.next()];
    // One named twice could unfold to far more than the file.
    if (at < end) fail(`the block at ${at} begins before the end of the one before it`);
    end = at + size;
    return entries(block(at, size), fail).map(([key, value]): [string, Uint8Array] => [text(key), value]);
  });
}

const text = (bytes: readonly number[]) => new TextDecoder().decode(Uint8Array.from(bytes));

/** Bytes that a key may have: names of variables are far shorter. */
const longestKey = 4096;
/** Bytes that the keys of a block may share with those before them, by byte of the block: an entry has some 20 of its own. */
const mostShared = 64;

function entries(block: Uint8Array, fail: (what: string) => never): [key: readonly number[], value: Uint8Array][] {
  if (block.length < 4) fail('a block is shorter than its restarts');
  const view = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const end = block.length - 4 - 4 * view.getUint32(block.length - 4, true);
  if (end < 0) fail('a block has more restarts than bytes');
  const out: [readonly number[], Uint8Array][] = [];
  const numbers = new Varints(block.subarray(0, end), fail);
  let key: readonly number[] = [];
  let left = mostShared * block.length;
  while (numbers.at < end) {
    const [shared, unshared, length] = [numbers.next(), numbers.next(), numbers.next()];
    const from = numbers.at;
    if (shared > key.length || shared + unshared > longestKey || !(from + unshared + length <= end))
      fail('an entry runs past the end of its block');
    left -= shared;
    if (left < 0) fail('its keys share more than names do');
    key = [...key.slice(0, shared), ...block.subarray(from, from + unshared)];
    out.push([key, block.subarray(from + unshared, from + unshared + length)]);
    numbers.at = from + unshared + length;
  }
  return out;
}
