/**
 * facegrad's packed format (`.faces`): one file of images with labels, names, checksums and an index.
 *
 * The one idea: a file is a row of shards, each whole in itself, so a file that was cut off is read up to its last whole
 * shard, and an interrupted write goes on there. A directory at the end only gathers what the shards cannot know.
 *
 * Format 1.0. Numbers are little endian and unsigned unless i32; f32 is IEEE 754; text is UTF-8; crc is CRC-32C (Castagnoli);
 * unnamed bytes are 0. "Ends" are cumulative: item j lies from the end of item j-1 (0 for the first) to its own.
 *
 *     file        header | shard | shard | … | directory | footer       header, shards and directory start at multiples of 64
 *     header      64 bytes: 0 magic 89 'FACES' 0D 0A | 8 u16 major 1 | 10 u16 minor 0 | 12 u32 features 0 | 60 u32 crc of bytes 0..59
 *     shard       head | index | landmarks | identities | names | 0 to a multiple of 64 | data | 0 to a multiple of 64
 *       head      64 bytes: 0 'FACESHRD' | 8 u64 bytes of the shard | 16 u32 number of its first image | 20 u32 images n, at least 1 |
 *                 24 u32 flags: 1 has landmarks | 28 u32 where its data starts, from its own start | 32 u32 identities k |
 *                 36 u32 bytes of identities | 40 u32 bytes of names | 44 u32 stride | 48 u32 crc from byte 64 up to the data |
 *                 60 u32 crc of bytes 0..59
 *       index     n × 24 bytes: 0 u32 end in data | 4 u32 end in names | 8 u32 crc of its data | 12 i32 label, -1 unknown |
 *                 16 u16 width | 18 u16 height (0 where not stated) | 20 u8 kind: 0 a JPEG or PNG file, 1 pixels uint8 [height, width, 3], RGB
 *       landmarks n × 10 × f32, only with flag 1: x y of left eye, right eye, nose, left and right corner of the mouth; NaN: unknown
 *       identities k × (i32 label | u32 bytes | name): those not named in a shard before
 *       names     of the images, joined: paths with '/' between the parts
 *       data      of the images, joined. Stride is not 0 where all are pixels of one size: the data is then one array
 *                 uint8 [n, height, width, 3], stride bytes an image, and can be mapped into memory
 *     directory   head | shards × (u64 offset | u32 images | u32 where its data starts) | classes × u32 end of identity name |
 *                 pairs × (i32 left image | i32 right image | i32 fold | i32 1 for same, 0 for different) |
 *                 identity names, joined | metadata: a JSON object
 *       head      64 bytes: 0 'FACESDIR' | 8 u64 bytes of the directory | 16 u32 images | 20 u32 shards | 24 u32 classes |
 *                 28 u32 bytes of identity names | 32 u32 pairs | 36 u32 folds | 40 u32 bytes of metadata |
 *                 56 u32 crc of what follows the head | 60 u32 crc of bytes 0..59
 *     footer      32 bytes: 0 u64 offset of the directory | 8 u64 its bytes | 20 u32 crc of bytes 0..19 | 24 'FACESEND'
 *
 * Labels are below 2^24, folds at most 1000 or as many as pairs, and below classes where there is a directory. A directory's identity names stand over the shards'.
 * Metadata is free; known keys are source, licence, template (of the alignment). A reader refuses a higher major version,
 * unknown features and flags; a higher minor version adds only what it may overlook. Without a whole footer, walk the shards
 * from offset 64; what follows the last whole one may be a whole directory.
 */
import { DataError } from '../../core/errors.ts';
import { asSource, type Readable } from '../bytes.ts';
import type { Dataset } from '../dataset.ts';
import {
  checkData,
  checkHeader,
  entryBytes,
  headBytes,
  layoutOf,
  type Metadata,
  type Problem,
  readShard,
  text,
} from './packedLayout.ts';

export { isPacked, type Metadata } from './packedLayout.ts';

export interface PackedSet extends Dataset {
  /** What its writer noted: source, licence, template … Empty where a file is cut off. */
  readonly metadata: Metadata;
}

export interface PackedOptions {
  /** What errors call bytes and Blobs. */
  readonly name?: string;
  /** Called after each shard, with bytes done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Opens a packed file. Reads its indexes, and checks them; the images are read when asked for (`packedDamage` checks them all).
 * Takes 16 bytes an image and the names. A file that was cut off gives what its whole shards hold, with a `note`.
 * @throws DataError where it is no packed file, of a newer format, or damaged elsewhere than at its end
 */
export async function packedDataset(bytes: Readable, { name, onProgress }: PackedOptions = {}): Promise<PackedSet> {
  const source = asSource(bytes, name);
  const damage = (at: number, problem: Problem, advice: string) =>
    new DataError(`${source.name}: at offset ${at}, expected ${problem}\n${advice}`);
  const bad = await checkHeader(source);
  if (bad) throw damage(0, bad, 'It is cut off or damaged: fetch or write it again.');
  const { places, directory, end, problem } = await layoutOf(source);

  const total = places.reduce((n, p) => n + p.images, 0);
  const dataEnd = new Uint32Array(total);
  const nameEnd = new Uint32Array(total);
  const labels = new Int32Array(total);
  /** 0 where the image is a file. */
  const width = new Uint16Array(total);
  const height = new Uint16Array(total);
  const names: Uint8Array[] = [];
  const points: (Float32Array | undefined)[] = [];
  const identities = new Map<number, string>();
  let length = 0;
  let classes = directory?.classes ?? 0;
  let wholeEnd = end;
  for (const place of places) {
    const shard = await readShard(source, place);
    if (typeof shard === 'string') {
      const advice = `Fetch or write it again. Cut off at ${place.at}, it opens with the ${length} images before.`;
      if (directory) throw damage(place.at, shard, advice);
      wholeEnd = place.at;
      break;
    }
    const { index } = shard;
    for (let e = 0; e < index.byteLength; e += entryBytes, length++) {
      dataEnd[length] = index.getUint32(e, true);
      nameEnd[length] = index.getUint32(e + 4, true);
      const label = index.getInt32(e + 12, true);
      labels[length] = label;
      if (label >= classes) {
        const advice = 'Its writer is at fault: have it packed anew.';
        if (directory) throw damage(place.at, `labels below ${classes}, got ${label}`, advice);
        classes = label + 1;
      }
      if (index.getUint8(e + 20) === 0) continue;
      width[length] = index.getUint16(e + 16, true);
      height[length] = index.getUint16(e + 18, true);
    }
    // Copies, since a view would keep the whole index.
    names.push(shard.names.slice());
    const l = shard.landmarks;
    points.push(l && Float32Array.from({ length: l.byteLength / 4 }, (_, k) => l.getFloat32(4 * k, true)));
    if (!directory) for (const [label, who] of shard.identities) identities.set(label, who);
    onProgress?.(place.end, source.size);
  }

  /** The last shard that starts at image i or before. */
  const shardOf = (i: number) => {
    let low = 0;
    for (let high = names.length; high - low > 1; ) {
      const middle = (low + high) >>> 1;
      if (places[middle]!.first <= i) low = middle;
      else high = middle;
    }
    return low;
  };
  const imageName = (i: number) => {
    const k = shardOf(i);
    return text.decode(names[k]!.subarray(i === places[k]!.first ? 0 : nameEnd[i - 1]!, nameEnd[i]!));
  };
  const storedName = (label: number) => {
    if (!directory || label < 0 || label >= classes) return identities.get(label);
    const { identityEnds, identityNames } = directory;
    return text.decode(identityNames.subarray(label === 0 ? 0 : identityEnds[label - 1]!, identityEnds[label]!));
  };
  const note = directory
    ? `${source.name}: its last bytes are damaged; everything else is there`
    : `${source.name}: cut off at the end or not finished; ${length} images in ${names.length} whole shards are there, ` +
      `the last ${source.size - wholeEnd} bytes, pairs and metadata are not`;
  return {
    name: source.name,
    classes,
    length,
    metadata: directory?.metadata ?? {},
    ...(problem === undefined ? {} : { note }),
    ...(directory?.pairs ? { pairs: directory.pairs } : {}),
    ...(points.some((p) => p)
      ? {
          landmarks(i: number) {
            const k = shardOf(i);
            const at = 10 * (i - places[k]!.first);
            const five = points[k]?.subarray(at, at + 10);
            return five?.every(Number.isFinite) ? [...five] : undefined;
          },
        }
      : {}),
    label: (i) => labels[i]!,
    identityName: (label) => storedName(label) || String(label),
    imageName,
    source(i) {
      const { at, dataAt, first } = places[shardOf(i)]!;
      const from = i === first ? 0 : dataEnd[i - 1]!;
      return {
        kind: 'part',
        name: `${source.name}: image ${i} (${imageName(i)})`,
        container: source.container,
        pieces: [at + dataAt + from, dataEnd[i]! - from],
        ...(width[i] ? { raw: { width: width[i]!, height: height[i]! } } : {}),
      };
    },
  };
}

/** A damaged part of a packed file. */
export interface PackedDamage {
  /** `end`: directory and footer, or all that follows the last whole shard. */
  readonly what: 'header' | 'shard' | 'image' | 'end';
  readonly at: number;
  readonly bytes: number;
  /** Number of the image, or of the first image of the shard. */
  readonly image?: number;
  /** Path of the image. */
  readonly name?: string;
  /** What was expected, and what is there. */
  readonly problem: string;
}

/**
 * Reads a packed file whole and compares every checksum. Gives the damaged parts in their order; none where all is well.
 * @throws DataError where it is no packed file, or of a newer format
 */
export async function packedDamage(bytes: Readable, { name, onProgress }: PackedOptions = {}): Promise<PackedDamage[]> {
  const source = asSource(bytes, name);
  const found: PackedDamage[] = [];
  const header = await checkHeader(source);
  if (header) found.push({ what: 'header', at: 0, bytes: Math.min(headBytes, source.size), problem: header });
  if (source.size < headBytes) return found;
  const { places, end, problem } = await layoutOf(source);
  for (const place of places) {
    const { at, first } = place;
    const whole = { what: 'shard', at, bytes: place.end - at, image: first } as const;
    const shard = await readShard(source, place);
    if (typeof shard === 'string') found.push({ ...whole, problem: shard });
    else {
      const { index, names } = shard;
      const { images, padding } = await checkData(source, shard);
      for (const j of images) {
        const [from, nameFrom] = j === 0 ? [0, 0] : [0, 4].map((c) => index.getUint32((j - 1) * entryBytes + c, true));
        const [to, nameTo] = [0, 4].map((c) => index.getUint32(j * entryBytes + c, true));
        found.push({
          what: 'image',
          at: at + place.dataAt + from!,
          bytes: to! - from!,
          image: first + j,
          name: text.decode(names.subarray(nameFrom, nameTo)),
          problem: 'bytes that fit their checksum, got others',
        });
      }
      if (padding) found.push({ ...whole, problem: 'zeros behind its data, got other bytes' });
    }
    onProgress?.(place.end, source.size);
  }
  if (problem !== undefined) found.push({ what: 'end', at: end, bytes: source.size - end, problem });
  return found;
}
