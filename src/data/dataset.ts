/**
 * What a data set is to the loader and to `prepare`: numbered images, each with a name, a label and a source.
 *
 * The one idea: a source is plain data (a path, a range of a file, bytes, or the arguments of the synthetic generator), so
 * it can be posted to a worker thread, which then reads and decodes it there.
 */
import { printable } from '../core/printable.ts';

/** Where an image comes from; structured-cloneable. */
export type ImageSource =
  | { readonly kind: 'file'; readonly path: string }
  /** A JPEG or PNG file in memory, or with `raw` its pixels. */
  | { readonly kind: 'bytes'; readonly name: string; readonly bytes: Uint8Array; readonly raw?: RawSize }
  /** Ranges of a file, joined: [offset, length, offset, length …]. */
  | {
      readonly kind: 'part';
      readonly name: string;
      /** A path, or the file itself. */
      readonly container: string | Blob;
      readonly pieces: readonly number[];
      readonly raw?: RawSize;
    }
  /** The content of the MXNet RecordIO record at an offset, whose length is known only when it is read. */
  | {
      readonly kind: 'record';
      readonly name: string;
      /** A path, or the file itself. */
      readonly container: string | Blob;
      readonly at: number;
      /** Bytes to read at once: what most records have. */
      readonly guess: number;
      readonly raw?: undefined;
    }
  | {
      readonly kind: 'synthetic';
      readonly seed: number;
      readonly identity: number;
      readonly image: number;
      readonly size: number;
    };

/** The bytes are uint8 pixels [height, width, 3], RGB, not an image file. */
export interface RawSize {
  readonly width: number;
  readonly height: number;
}

/** A set of images. Labels are 0 .. classes-1, or −1 where the person is not known. */
export interface Dataset {
  readonly name: string;
  /** How many people; 0 where none is known. */
  readonly classes: number;
  readonly length: number;
  /** Label of image i. */
  label(i: number): number;
  /** The person behind a label, as the data names them. */
  identityName(label: number): string;
  /** Path of image i within the set, '/' between its parts, such as `Abel_Pacheco/Abel_Pacheco_0001.jpg`. */
  imageName(i: number): string;
  /** Where image i comes from. */
  source(i: number): ImageSource;
  /** Pairs to verify on, by image number, where the format holds some. */
  readonly pairs?: PairTable;
  /** Five points of image i (left eye, right eye, nose, left and right corner of the mouth, x and y in pixels), where known. */
  landmarks?(i: number): readonly number[] | undefined;
  /** What whoever opened the set should know and be told, such as that its file is cut off: a line that begins with its name. */
  readonly note?: string;
}

/** Pairs of images of one set, by number. */
export interface PairTable {
  readonly folds: number;
  readonly left: Int32Array;
  readonly right: Int32Array;
  /** 1 where both show the same person. */
  readonly same: Uint8Array;
  /** Counts from 0. */
  readonly fold: Int32Array;
}

/** A verification set: pairs of the images of a set, by number, so that millions of pairs cost 13 bytes each. */
export interface PairSet {
  readonly name: string;
  readonly images: Dataset;
  readonly pairs: PairTable;
}

/** How an error names a source: in one line, whatever its name holds. */
export const sourceName = (s: ImageSource): string => printable(fullName(s));

function fullName(s: ImageSource): string {
  if (s.kind === 'file') return s.path;
  if (s.kind === 'synthetic') return `synthetic identity ${s.identity} image ${s.image} (seed ${s.seed})`;
  return s.name;
}
