/**
 * Writes packed files (packed.ts describes them). Browser-safe: into any `ByteSink`.
 *
 * The one idea: a shard is gathered in memory and written at once, and where it ends depends on the images alone. So nothing
 * is written twice, no more than a shard is held or lost, and a resumed file is the same as one written without a break.
 */

import { crc32c } from '../../core/crc32c.ts';
import { UsageError } from '../../core/errors.ts';
import type { ByteSink, ByteSource } from '../bytes.ts';
import type { PairTable } from '../dataset.ts';
import type { NewImage, SetWriter } from './format.ts';
import {
  checkData,
  checkHeader,
  entryBytes,
  footerBytes,
  headBytes,
  landmarkBytes,
  type Metadata,
  magics,
  mostFolds,
  mostImages,
  mostLabels,
  type Place,
  readShard,
  up64,
  walk,
} from './packedLayout.ts';

export interface PackedWriterOptions {
  /** A shard ends before its images and their names take more bytes. Default 64 MiB. One image may be larger. */
  readonly shardBytes?: number;
  /** Most images of a shard. Default 16384. */
  readonly shardImages?: number;
  /** What readers shall find as `metadata`: source, licence, template … */
  readonly metadata?: Metadata;
  /** Goes on after these shards; the sink then holds them and nothing more. */
  readonly resume?: PackedState | undefined;
}

/** What the whole shards of an unfinished file hold. */
export interface PackedState {
  /** Bytes to keep. */
  readonly end: number;
  readonly places: readonly Place[];
  /** Names by label, as far as known. */
  readonly identities: ReadonlyMap<number, string>;
  /** The highest label and one. */
  readonly classes: number;
}

/**
 * What an interrupted call left whole, or undefined where not even the header is. Of the last shard all bytes are checked:
 * a power cut may have left holes in it.
 * @throws DataError where the file is no packed one, or of a newer format
 */
export async function packedState(source: ByteSource): Promise<PackedState | undefined> {
  if (source.size < magics.file.length || (await checkHeader(source))) return undefined;
  const places: Place[] = [];
  const identities = new Map<number, string>();
  let classes = 0;
  const found = (await walk(source)).places;
  for (const place of found) {
    const shard = await readShard(source, place);
    if (typeof shard === 'string') break;
    if (place === found.at(-1)) {
      const { images, padding } = await checkData(source, shard);
      if (images.length > 0 || padding) break;
    }
    places.push(place);
    for (const [label, name] of shard.identities) identities.set(label, name);
    for (let e = 0; e < shard.index.byteLength; e += entryBytes)
      classes = Math.max(classes, shard.index.getInt32(e + 12, true) + 1);
  }
  return { end: places.at(-1)?.end ?? headBytes, places, identities, classes };
}

/** Bytes that grow at the end. */
class Pile {
  length = 0;
  private held = new Uint8Array(1024);

  get bytes(): Uint8Array {
    return this.held.subarray(0, this.length);
  }
  private more(count: number): Uint8Array {
    const from = this.length;
    this.length += count;
    if (this.length > this.held.length) {
      const larger = new Uint8Array(Math.max(2 * this.held.length, this.length));
      larger.set(this.held.subarray(0, from));
      this.held = larger;
    }
    return this.held.subarray(from, this.length);
  }
  /** Space for so many bytes more, zero. */
  view(count: number): DataView {
    const b = this.more(count).fill(0);
    return new DataView(b.buffer, b.byteOffset, count);
  }
  add(bytes: Uint8Array): void {
    this.more(bytes.length).set(bytes);
  }
  clear(): void {
    this.length = 0;
  }
}

const utf8 = new TextEncoder();
const setU64 = (v: DataView, at: number, value: number) => v.setBigUint64(at, BigInt(value), true);

/** A head of `length` bytes with a checksum near its end. */
function headOf(magic: Uint8Array, magicAt: number, crcAt: number, length: number, fill: (v: DataView) => void) {
  const head = new Uint8Array(length);
  const v = new DataView(head.buffer);
  head.set(magic, magicAt);
  fill(v);
  v.setUint32(crcAt, crc32c(head.subarray(0, crcAt)), true);
  return head;
}

function checkImage({ name, label, bytes, raw, landmarks }: NewImage, nameBytes: number): void {
  const bad = (expected: string, got: unknown) =>
    new UsageError(`packing ${name.slice(0, 200)}: expected ${expected}, got ${got}\nCorrect what is passed to add().`);
  if (!Number.isInteger(label) || label < -1 || label >= mostLabels)
    throw bad(`a whole label from -1 to ${mostLabels - 1}`, label);
  if (nameBytes > 0xffff) throw bad('a name of at most 65535 bytes', `${nameBytes} bytes`);
  if (bytes.length > 0xffff_ffff) throw bad('an image below 4 GiB', `${bytes.length} bytes`);
  if (raw) {
    const { width, height } = raw;
    const side = (n: number) => Number.isInteger(n) && n > 0 && n <= 0xffff;
    if (!side(width) || !side(height)) throw bad('a width and a height from 1 to 65535', `${width}x${height}`);
    if (bytes.length !== 3 * width * height)
      throw bad(`${3 * width * height} bytes for ${width}x${height} pixels`, bytes.length);
  }
  if (landmarks && (landmarks.length !== 10 || !landmarks.every(Number.isFinite)))
    throw bad('ten finite numbers as landmarks', `[${landmarks}]`);
}

/**
 * Starts a packed file, or goes on with one. Deterministic: the same images and options give the same bytes.
 * `finish` and `abort` close the sink.
 */
export async function packedWriter(sink: ByteSink, options: PackedWriterOptions = {}): Promise<SetWriter> {
  const { shardBytes = 64 * 2 ** 20, shardImages = 16384, metadata = {}, resume } = options;
  for (const [key, value, most] of [
    ['shardBytes', shardBytes, 2 ** 31],
    ['shardImages', shardImages, 2 ** 24],
  ] as const)
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new UsageError(
        `${key}: expected a whole number from 1 to ${most}, got ${value}\nLeave it out for the default.`,
      );
  const places: Place[] = [...(resume?.places ?? [])];
  const names = new Map(resume?.identities);
  let classes = resume?.classes ?? 0;
  let at = resume?.end ?? headBytes;
  let first = places.reduce((n, p) => n + p.images, 0);
  const written = first;
  if (!resume) {
    await sink.write(headOf(magics.file, 0, 60, headBytes, (v) => v.setUint16(8, 1, true)));
    await sink.flush();
  }

  const index = new Pile();
  const points = new Pile();
  const identities = new Pile();
  const imageNames = new Pile();
  const data = new Pile();
  let images = 0;
  let identityCount = 0;
  let hasPoints = false;
  /** Bytes of an image while all are pixels of one size. */
  let stride = 0;
  let size = 0;

  async function endShard(): Promise<void> {
    if (images === 0) return;
    const tables = [index, ...(hasPoints ? [points] : []), identities, imageNames];
    const dataAt = up64(tables.reduce((n, t) => n + t.length, headBytes));
    const bytes = up64(dataAt + data.length);
    const front = new Uint8Array(dataAt);
    let to = headBytes;
    for (const t of tables) {
      front.set(t.bytes, to);
      to += t.length;
    }
    const head = headOf(magics.shard, 0, 60, headBytes, (v) => {
      setU64(v, 8, bytes);
      const rest = [
        first,
        images,
        hasPoints ? 1 : 0,
        dataAt,
        identityCount,
        identities.length,
        imageNames.length,
        stride,
      ];
      rest.forEach((value, k) => {
        v.setUint32(16 + 4 * k, value, true);
      });
      v.setUint32(48, crc32c(front.subarray(headBytes)), true);
    });
    front.set(head);
    await sink.write(front);
    await sink.write(data.bytes);
    await sink.write(new Uint8Array(bytes - dataAt - data.length));
    await sink.flush();
    places.push({ at, end: at + bytes, first, images, dataAt });
    at += bytes;
    first += images;
    images = identityCount = 0;
    hasPoints = false;
    for (const pile of [index, points, identities, imageNames, data]) pile.clear();
  }

  function checkPairs({ left, right, same, fold, folds }: PairTable): void {
    const inside = (a: Int32Array, below: number) => a.length === left.length && a.every((x) => x >= 0 && x < below);
    if (
      inside(left, first) &&
      inside(right, first) &&
      inside(fold, folds) &&
      same.length === left.length &&
      folds <= mostFolds(left.length)
    )
      return;
    throw new UsageError(
      `packing ${sink.name}: expected pairs of ${first} images in ${folds} folds, got others\nCorrect what is passed to finish().`,
    );
  }

  async function writeEnd(given: readonly string[], pairs: PairTable | undefined): Promise<void> {
    const labels = Math.max(given.length, classes);
    const pairCount = pairs?.left.length ?? 0;
    const json = utf8.encode(JSON.stringify(metadata));
    const body = new Pile();
    for (const p of places) {
      const v = body.view(16);
      setU64(v, 0, p.at);
      v.setUint32(8, p.images, true);
      v.setUint32(12, p.dataAt, true);
    }
    const people = new Pile();
    for (let l = 0; l < labels; l++) {
      people.add(utf8.encode(given[l] || names.get(l) || ''));
      body.view(4).setUint32(0, people.length, true);
    }
    for (let k = 0; k < pairCount; k++) {
      const v = body.view(16);
      const row = [pairs!.left[k]!, pairs!.right[k]!, pairs!.fold[k]!, pairs!.same[k]! ? 1 : 0];
      row.forEach((value, c) => {
        v.setInt32(4 * c, value, true);
      });
    }
    body.add(people.bytes);
    body.add(json);
    const bytes = headBytes + body.length;
    await sink.write(
      headOf(magics.directory, 0, 60, headBytes, (v) => {
        setU64(v, 8, bytes);
        const rest = [first, places.length, labels, people.length, pairCount, pairs?.folds ?? 0, json.length];
        rest.forEach((value, k) => {
          v.setUint32(16 + 4 * k, value, true);
        });
        v.setUint32(56, crc32c(body.bytes), true);
      }),
    );
    await sink.write(body.bytes);
    const footer = new Uint8Array(footerBytes);
    footer.set(
      headOf(new Uint8Array(0), 0, 20, 24, (v) => {
        setU64(v, 0, at);
        setU64(v, 8, bytes);
      }),
    );
    footer.set(magics.footer, 24);
    await sink.write(footer);
    await sink.flush();
  }

  return {
    written,
    async add(image) {
      const { label, identity, bytes, raw, landmarks } = image;
      const name = utf8.encode(image.name);
      checkImage(image, name.length);
      if (first + images >= mostImages)
        throw new UsageError(`packing ${sink.name}: expected at most ${mostImages} images\nMake several files.`);
      if (data.length + imageNames.length + bytes.length + name.length > shardBytes) await endShard();
      data.add(bytes);
      imageNames.add(name);
      if (label >= 0 && identity && !names.has(label)) {
        const who = utf8.encode(identity);
        const v = identities.view(8);
        v.setInt32(0, label, true);
        v.setUint32(4, who.length, true);
        identities.add(who);
        identityCount++;
        names.set(label, identity);
      }
      classes = Math.max(classes, label + 1);
      const v = index.view(entryBytes);
      v.setUint32(0, data.length, true);
      v.setUint32(4, imageNames.length, true);
      v.setUint32(8, crc32c(bytes), true);
      v.setInt32(12, label, true);
      v.setUint16(16, raw?.width ?? 0, true);
      v.setUint16(18, raw?.height ?? 0, true);
      v.setUint8(20, raw ? 1 : 0);
      const dimensions = v.getUint32(16, true);
      if (images === 0) size = dimensions;
      stride = raw && dimensions === size && (images === 0 || stride !== 0) ? bytes.length : 0;
      const p = points.view(landmarkBytes);
      for (let k = 0; k < 10; k++) {
        if (landmarks) p.setFloat32(4 * k, landmarks[k]!, true);
        else p.setUint32(4 * k, 0x7fc00000, true);
      }
      hasPoints ||= landmarks !== undefined;
      images++;
      if (images === shardImages) await endShard();
    },
    async finish({ identities: given, pairs }) {
      if (given.length > mostLabels)
        throw new UsageError(
          `packing ${sink.name}: expected at most ${mostLabels} identities, got ${given.length}\nLeave out those without pictures.`,
        );
      await endShard();
      if (pairs) checkPairs(pairs);
      await writeEnd(given, pairs);
      await sink.close();
    },
    abort: () => sink.close(),
  };
}
