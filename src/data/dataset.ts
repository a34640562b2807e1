/**
 * What a training set is to the loader: numbered images, each with a label and a source.
 *
 * The one idea: a source is plain data (a path, bytes, or the arguments of the synthetic generator), so it can be posted
 * to a worker thread, which then reads and decodes it there.
 */

/** Where an image comes from; structured-cloneable. `name` and `path` are what an error shows. */
export type ImageSource =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'bytes'; readonly name: string; readonly bytes: Uint8Array }
  | {
      readonly kind: 'synthetic';
      readonly seed: number;
      readonly identity: number;
      readonly image: number;
      readonly size: number;
    };

/** A labelled set of images. Labels are 0 .. classes-1. */
export interface Dataset {
  readonly name: string;
  readonly classes: number;
  readonly length: number;
  /** Label of image i. */
  label(i: number): number;
  /** The person behind a label, as the data names them. */
  identityName(label: number): string;
  /** Where image i comes from. */
  source(i: number): ImageSource;
}

/** Two images and whether they show the same person. `fold` counts from 0. */
export interface Pair {
  readonly a: ImageSource;
  readonly b: ImageSource;
  readonly same: boolean;
  readonly fold: number;
}

/** A verification set. */
export interface PairSet {
  readonly name: string;
  readonly folds: number;
  readonly pairs: readonly Pair[];
}

/** How an error names a source. */
export function sourceName(s: ImageSource): string {
  if (s.kind === 'file') return s.path;
  if (s.kind === 'bytes') return s.name;
  return `synthetic identity ${s.identity} image ${s.image} (seed ${s.seed})`;
}
