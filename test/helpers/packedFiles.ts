/** Packed files for tests: written in memory, read whole, taken apart at their joints. */

import { crc32c } from '../../src/core/crc32c.ts';
import { DataError } from '../../src/core/errors.ts';
import { memorySink, type Readable } from '../../src/data/bytes.ts';
import type { PairTable } from '../../src/data/dataset.ts';
import type { NewImage, SetWriter } from '../../src/data/formats/format.ts';
import { type PackedSet, packedDataset } from '../../src/data/formats/packed.ts';
import { type PackedState, type PackedWriterOptions, packedWriter } from '../../src/data/formats/packedWriter.ts';
import { imageBytes } from '../../src/data/source.ts';

export interface Content {
  readonly images: readonly NewImage[];
  readonly identities?: readonly string[];
  readonly pairs?: PairTable | undefined;
}

/** Adds what is not written yet, and finishes. */
export async function writeAll(writer: SetWriter, { images, identities = [], pairs }: Content): Promise<void> {
  for (const image of images.slice(writer.written)) await writer.add(image);
  await writer.finish({ identities, pairs });
}

/** The packed file of a content; with `kept` and its state, going on after them. */
export async function pack(
  content: Content,
  options: PackedWriterOptions = {},
  kept?: { readonly bytes: Uint8Array; readonly state: PackedState },
): Promise<Uint8Array> {
  const sink = memorySink('x.faces');
  if (kept) await sink.write(kept.bytes.subarray(0, kept.state.end));
  await writeAll(await packedWriter(sink, { ...options, resume: kept?.state }), content);
  return sink.bytes();
}

/** Every image of a set, as it would be written again. */
export async function imagesOf(set: PackedSet): Promise<NewImage[]> {
  const all: NewImage[] = [];
  for (let i = 0; i < set.length; i++) {
    const label = set.label(i);
    const landmarks = set.landmarks?.(i);
    const { bytes, raw } = await imageBytes(set.source(i));
    const identity = label < 0 ? '' : set.identityName(label);
    all.push({ name: set.imageName(i), label, identity, bytes, ...(raw && { raw }), ...(landmarks && { landmarks }) });
  }
  return all;
}

/** A set and all that it holds. */
export async function readAll(bytes: Readable, name = 'x.faces') {
  const set = await packedDataset(bytes, { name });
  // A damaged file may name any number of classes.
  if (set.classes > 1e6) throw new DataError(`${name}: too many classes for this test`);
  const identities = Array.from({ length: set.classes }, (_, l) => set.identityName(l));
  return { set, images: await imagesOf(set), identities, pairs: set.pairs };
}

const u32 = (b: Uint8Array, at: number) => new DataView(b.buffer, b.byteOffset).getUint32(at, true);
/** Offsets below 4 GiB: the files of these tests are small. */
export interface Joints {
  readonly shards: readonly {
    readonly at: number;
    readonly dataAt: number;
    readonly end: number;
    readonly images: number;
  }[];
  readonly directory: number;
  readonly footer: number;
}

/** Where the parts of a whole file lie, read by the description in packed.ts and not by its code. */
export function jointsOf(file: Uint8Array): Joints {
  const footer = file.length - 32;
  const directory = u32(file, footer);
  const shards: Joints['shards'][number][] = [];
  for (let at = 64; at < directory; ) {
    const end = at + u32(file, at + 8);
    shards.push({ at, dataAt: at + u32(file, at + 28), end, images: u32(file, at + 20) });
    at = end;
  }
  return { shards, directory, footer };
}

/** Makes the checksums of tables, heads and footer fit what a test has put there. */
export function reseal(file: Uint8Array, { shards, directory, footer }: Joints): Uint8Array {
  const put = (at: number, from: number, to: number) => {
    if (at + 4 > file.length || to > file.length) return;
    new DataView(file.buffer, file.byteOffset).setUint32(at, crc32c(file.subarray(from, to)), true);
  };
  put(60, 0, 60);
  for (const { at, dataAt } of shards) {
    put(at + 48, at + 64, dataAt);
    put(at + 60, at, at + 60);
  }
  put(directory + 56, directory + 64, footer);
  put(directory + 60, directory, directory + 60);
  put(footer + 20, footer, footer + 20);
  return file;
}
