/**
 * The pieces of a packed file, read and checked; packed.ts describes them byte by byte.
 *
 * The one idea: what is wrong with a piece is returned, not thrown, since only the caller knows whether it is an error, the
 * place where a cut-off file ends, or a line of a report. Sizes are checked against the file before anything is allocated.
 */

import { crc32c } from '../../core/crc32c.ts';
import { DataError } from '../../core/errors.ts';
import { type ByteSource, Scan } from '../bytes.ts';
import type { PairTable } from '../dataset.ts';
import { mostClasses } from '../people.ts';

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
export const magics = {
  file: ascii('\x89FACES\r\n'),
  shard: ascii('FACESHRD'),
  directory: ascii('FACESDIR'),
  footer: ascii('FACESEND'),
} as const;
export const headBytes = 64;
export const entryBytes = 24;
export const landmarkBytes = 40;
export const footerBytes = 32;
export const mostLabels = mostClasses;
/** Folds without a pair are no use, and a number of them takes memory; a set of which pairs were left out keeps its ten. */
export const mostFolds = (pairs: number): number => Math.max(pairs, 1000);
export const mostImages = 2 ** 31 - 1;
export const up64 = (n: number): number => Math.ceil(n / 64) * 64;

/** Whether bytes start as a packed file does. */
export const isPacked = (head: Uint8Array): boolean => starts(head, magics.file);

const starts = (bytes: Uint8Array, magic: Uint8Array) => magic.every((b, i) => bytes[i] === b);
const viewOf = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset, b.byteLength);
/** Beyond 2^53 the value is not exact, but then larger than any file. */
const u64 = (v: DataView, at: number) => v.getUint32(at, true) + v.getUint32(at + 4, true) * 2 ** 32;
export const text = new TextDecoder('utf-8', { ignoreBOM: true });

/** What is wrong with a piece of a file: the rest of a sentence that starts with `expected`. */
export type Problem = string;

/** Compares the checksum that is stated at an offset of a head with that of bytes. */
function checksum(what: string, head: Uint8Array, at: number, bytes: Uint8Array): Problem | undefined {
  const stated = viewOf(head).getUint32(at, true);
  const got = crc32c(bytes);
  return stated === got ? undefined : `${what} with checksum ${stated.toString(16)}, got ${got.toString(16)}`;
}

/** Where a shard lies, as far as that is known before it is read. */
export interface Place {
  readonly at: number;
  /** Offset of what follows it. */
  readonly end: number;
  /** Number of its first image. */
  readonly first: number;
  readonly images: number;
  /** Bytes before its data. */
  readonly dataAt: number;
}

/** A shard without its data. Its parts are views of what was read. */
export interface Shard {
  readonly place: Place;
  readonly index: DataView;
  readonly landmarks: DataView | undefined;
  readonly identities: readonly (readonly [label: number, name: string])[];
  readonly names: Uint8Array;
}

/** What the directory adds to the shards. */
export interface Directory {
  readonly at: number;
  readonly end: number;
  readonly places: readonly Place[];
  readonly classes: number;
  readonly identityEnds: Uint32Array;
  readonly identityNames: Uint8Array;
  readonly pairs: PairTable | undefined;
  readonly metadata: Metadata;
}

export type Metadata = Readonly<Record<string, unknown>>;

/** Throws DataError where the source is no packed file that this version reads; gives the problem of a damaged header. */
export async function checkHeader(source: ByteSource): Promise<Problem | undefined> {
  const head = await source.read(0, Math.min(headBytes, source.size));
  if (!isPacked(head))
    throw new DataError(
      `${source.name}: expected a facegrad packed file at offset 0, got ${[...head.subarray(0, 8)].map((b) => b.toString(16).padStart(2, '0')).join(' ') || 'nothing'}\nName a file that facegrad has packed.`,
    );
  if (head.length < headBytes) return `a header of ${headBytes} bytes, got ${head.length}`;
  const problem = checksum('a header', head, 60, head.subarray(0, 60));
  if (problem) return problem;
  const v = viewOf(head);
  const major = v.getUint16(8, true);
  const features = v.getUint32(12, true);
  if (major !== 1 || features !== 0)
    throw new DataError(
      `${source.name}: expected packed format 1 at offset 8, got ${major}.${v.getUint16(10, true)} with features ${features}\nIt was written by a newer facegrad: update, or have it packed anew.`,
    );
  return undefined;
}

/** The head of a shard. `room` is the offset that it must not pass. */
function parseHead(head: Uint8Array, at: number, first: number, room: number): Place | Problem {
  if (head.length < headBytes || !starts(head, magics.shard)) return 'a shard, got other bytes';
  const problem = checksum('the head of a shard', head, 60, head.subarray(0, 60));
  if (problem) return problem;
  const v = viewOf(head);
  const bytes = u64(v, 8);
  const images = v.getUint32(20, true);
  const dataAt = v.getUint32(28, true);
  const flags = v.getUint32(24, true);
  if (flags > 1) return `a shard with flags known here, got ${flags}`;
  const tables = images * (entryBytes + flags * landmarkBytes) + v.getUint32(36, true) + v.getUint32(40, true);
  if (v.getUint32(16, true) !== first) return `a shard from image ${first} on, got ${v.getUint32(16, true)}`;
  if (images === 0 || first + images > mostImages) return `a shard of a number of images, got ${images}`;
  if (dataAt !== up64(headBytes + tables))
    return `data ${up64(headBytes + tables)} bytes into the shard, got ${dataAt}`;
  if (bytes % 64 !== 0 || bytes < dataAt) return `a shard whose size is a multiple of 64, got ${bytes}`;
  if (at + bytes > room) return `${bytes} bytes of a shard, got ${room - at}`;
  return { at, end: at + bytes, first, images, dataAt };
}

/** A shard's tables: `bytes` are those before its data. */
function parseShard(bytes: Uint8Array, wanted: Place): Shard | Problem {
  const place = parseHead(bytes, wanted.at, wanted.first, wanted.end);
  if (typeof place === 'string') return place;
  const { images, dataAt } = wanted;
  if (place.end !== wanted.end || place.images !== images || place.dataAt !== dataAt)
    return `a shard of ${images} images up to offset ${wanted.end}, got ${place.images} up to ${place.end}`;
  const damaged = checksum('an index', bytes, 48, bytes.subarray(headBytes));
  if (damaged) return damaged;
  const v = viewOf(bytes);
  let at = headBytes + images * entryBytes;
  const index = viewOf(bytes.subarray(headBytes, at));
  const points = (v.getUint32(24, true) & 1) * images * landmarkBytes;
  const landmarks = points ? viewOf(bytes.subarray(at, at + points)) : undefined;
  at += points;
  const namesAt = at + v.getUint32(36, true);
  const identities: [number, string][] = [];
  for (let k = v.getUint32(32, true); k > 0; k--) {
    if (at + 8 > namesAt) return `${k} more identities`;
    const label = v.getInt32(at, true);
    const end = at + 8 + v.getUint32(at + 4, true);
    if (end > namesAt || label < 0 || label >= mostLabels) return `an identity's label and name, got label ${label}`;
    identities.push([label, text.decode(bytes.subarray(at + 8, end))]);
    at = end;
  }
  if (at !== namesAt) return `identities of ${v.getUint32(36, true)} bytes`;
  const names = bytes.subarray(namesAt, namesAt + v.getUint32(40, true));
  const problem = checkIndex(index, names.length, place, v.getUint32(44, true));
  return problem ?? { place, index, landmarks, identities, names };
}

function checkIndex(index: DataView, namesLength: number, place: Place, stride: number): Problem | undefined {
  let dataEnd = 0;
  let nameEnd = 0;
  for (let e = 0, j = place.first; e < index.byteLength; e += entryBytes, j++) {
    const length = index.getUint32(e, true) - dataEnd;
    if (length < 0 || index.getUint32(e + 4, true) < nameEnd) return `image ${j} to end where it starts or later`;
    dataEnd += length;
    nameEnd = index.getUint32(e + 4, true);
    const label = index.getInt32(e + 12, true);
    if (label < -1 || label >= mostLabels) return `a label of image ${j}, got ${label}`;
    const kind = index.getUint8(e + 20);
    const pixels = 3 * index.getUint16(e + 16, true) * index.getUint16(e + 18, true);
    if (kind > 1) return `image ${j} to be of kind 0 or 1, got ${kind}`;
    if (kind === 1 && (pixels === 0 || pixels !== length))
      return `${pixels} bytes of pixels of image ${j}, got ${length}`;
    if (
      stride !== 0 &&
      (kind === 0 || length !== stride || index.getUint32(e + 16, true) !== index.getUint32(16, true))
    )
      return `image ${j} to be of the size of the shard's others`;
  }
  if (nameEnd !== namesLength) return `names of ${nameEnd} bytes, got ${namesLength}`;
  if (place.at + up64(place.dataAt + dataEnd) !== place.end)
    return `data of ${dataEnd} bytes up to offset ${place.end}`;
  return undefined;
}

/** Reads a shard's tables and checks them. */
export const readShard = async (source: ByteSource, place: Place): Promise<Shard | Problem> =>
  parseShard(await source.read(place.at, place.dataAt), place);

/** The places of whole heads from the start on, and where they end. */
export async function walk(source: ByteSource): Promise<{ places: Place[]; end: number }> {
  const places: Place[] = [];
  let end = headBytes;
  let first = 0;
  while (end + headBytes <= source.size) {
    const place = parseHead(await source.read(end, headBytes), end, first, source.size);
    if (typeof place === 'string') break;
    places.push(place);
    end = place.end;
    first += place.images;
  }
  return { places, end };
}

/** The directory at an offset, of `bytes` bytes where those are known. */
async function readDirectory(source: ByteSource, at: number, known?: number): Promise<Directory | Problem> {
  if (at % 64 !== 0 || at < headBytes || at + headBytes > source.size) return `a directory, got offset ${at}`;
  const head = await source.read(at, headBytes);
  if (!starts(head, magics.directory)) return 'a directory, got other bytes';
  const damagedHead = checksum('the head of a directory', head, 60, head.subarray(0, 60));
  if (damagedHead) return damagedHead;
  const h = viewOf(head);
  const [images, shards, classes, nameBytes, pairCount, folds, jsonBytes] = [16, 20, 24, 28, 32, 36, 40].map((o) =>
    h.getUint32(o, true),
  ) as [number, number, number, number, number, number, number];
  const length = u64(h, 8);
  const sum = headBytes + 16 * shards + 4 * classes + 16 * pairCount + nameBytes + jsonBytes;
  if (length !== sum || (known ?? length) !== length || at + length > source.size)
    return `a directory of ${sum} bytes, got ${Math.min(length, source.size - at)}`;
  const body = await source.read(at + headBytes, length - headBytes);
  const damagedBody = checksum('a directory', head, 56, body);
  if (damagedBody) return damagedBody;
  const v = viewOf(body);

  const places: Place[] = [];
  let first = 0;
  for (let k = 0; k < shards; k++) {
    const place = {
      at: u64(v, 16 * k),
      end: k + 1 < shards ? u64(v, 16 * k + 16) : at,
      first,
      images: v.getUint32(16 * k + 8, true),
      dataAt: v.getUint32(16 * k + 12, true),
    };
    const least = headBytes + place.images * entryBytes;
    if (place.at !== (places.at(-1)?.end ?? headBytes) || place.dataAt < least || place.at + place.dataAt > place.end)
      return `shard ${k} after the one before it, got offset ${place.at}`;
    places.push(place);
    first += place.images;
  }
  if (first !== images || images > mostImages || (shards === 0 && at !== headBytes))
    return `${images} images in the shards, got ${first}`;

  let p = 16 * shards;
  const identityEnds = Uint32Array.from({ length: classes }, (_, l) => v.getUint32(p + 4 * l, true));
  if (identityEnds.some((e, l) => e < (identityEnds[l - 1] ?? 0)) || (identityEnds.at(-1) ?? 0) !== nameBytes)
    return `identity names of ${nameBytes} bytes`;
  p += 4 * classes;
  const column = (c: number) => Int32Array.from({ length: pairCount }, (_, k) => v.getInt32(p + 16 * k + c, true));
  const pairs = { folds, left: column(0), right: column(4), fold: column(8), same: Uint8Array.from(column(12)) };
  const inside = (a: Int32Array, below: number) => a.every((x) => x >= 0 && x < below);
  if (
    !inside(pairs.left, images) ||
    !inside(pairs.right, images) ||
    !inside(pairs.fold, folds) ||
    folds > mostFolds(pairCount) ||
    !inside(column(12), 2)
  )
    return `pairs of the ${images} images in ${folds} folds`;
  p += 16 * pairCount;
  // A copy, since a view would keep the pairs as well.
  const identityNames = body.slice(p, p + nameBytes);
  let metadata: unknown;
  try {
    metadata = JSON.parse(text.decode(body.subarray(p + nameBytes)));
  } catch {}
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata))
    return 'metadata that is a JSON object';
  return {
    at,
    end: at + length,
    places,
    classes,
    identityEnds,
    identityNames,
    pairs: pairCount + folds > 0 ? pairs : undefined,
    metadata: metadata as Metadata,
  };
}

/** How a file is read: by its directory, or as far as it is whole. */
export interface Layout {
  readonly places: readonly Place[];
  readonly directory: Directory | undefined;
  /** Where the last whole part ends: what follows is the footer, or what a cut left. */
  readonly end: number;
  /** Set where there is no whole footer. */
  readonly problem?: Problem;
}

export async function layoutOf(source: ByteSource): Promise<Layout> {
  const at = source.size - footerBytes;
  let problem: Problem = 'a footer, got other bytes';
  if (at >= headBytes) {
    const footer = await source.read(at, footerBytes);
    const v = viewOf(footer);
    if (starts(footer.subarray(24), magics.footer) && v.getUint32(20, true) === crc32c(footer.subarray(0, 20))) {
      const directory =
        u64(v, 0) + u64(v, 8) === at
          ? await readDirectory(source, u64(v, 0), u64(v, 8))
          : 'a footer that points to the bytes before it';
      if (typeof directory !== 'string') return { places: directory.places, directory, end: at };
      problem = directory;
    }
  }
  const walked = await walk(source);
  const directory = await readDirectory(source, walked.end);
  if (typeof directory === 'string') return { ...walked, directory: undefined, problem };
  return { places: directory.places, directory, end: directory.end, problem };
}

/** Numbers within a shard of the images whose bytes do not fit their checksum, and whether its padding is damaged. */
export async function checkData(
  source: ByteSource,
  { place, index }: Shard,
): Promise<{ images: number[]; padding: boolean }> {
  const scan = new Scan(source, place.at + place.dataAt);
  const images: number[] = [];
  let from = 0;
  for (let j = 0; j < place.images; j++) {
    const end = index.getUint32(j * entryBytes, true);
    if (crc32c(await scan.take(end - from)) !== index.getUint32(j * entryBytes + 8, true)) images.push(j);
    from = end;
  }
  return { images, padding: (await scan.take(place.end - scan.at)).some((b) => b !== 0) };
}
