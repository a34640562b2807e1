/** What a data format is: how it is recognised, opened and written. The list of all is formats/index.ts. */
import type { Dataset, PairTable, RawSize } from '../dataset.ts';

/** An image on its way into a set. */
export interface NewImage {
  /** Path within the set, '/' between its parts. */
  readonly name: string;
  /** −1 where the person is not known. */
  readonly label: number;
  /** The person's name; '' where not known. */
  readonly identity: string;
  /** A JPEG or PNG file, or with `raw` its pixels. */
  readonly bytes: Uint8Array;
  readonly raw?: RawSize;
  /** Five points as in `Dataset.landmarks`, for formats that keep them. */
  readonly landmarks?: readonly number[] | undefined;
}

/** Writes a set, image by image; `add` is called in the order of the images, one call at a time. */
export interface SetWriter {
  /** Images that a call before left whole, in order, where it resumes: go on with this number. */
  readonly written: number;
  add(image: NewImage): Promise<void>;
  /** Completes the set. `identities[l]` is the name of label l. */
  finish(set: { readonly identities: readonly string[]; readonly pairs?: PairTable | undefined }): Promise<void>;
  /** Closes files; what is written stays, for a later call that resumes. */
  abort(): Promise<void>;
}

export interface OpenOptions {
  /** Called while a file without an index is scanned, with bytes done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface CreateOptions {
  /** Go on after what an interrupted call has written. Default false: start anew. */
  readonly resume?: boolean;
}

/** What a format can hold; `prepare` says what a conversion loses. */
export interface Holds {
  /** Labels of images. */
  readonly labels: boolean;
  /** Names of images and people. */
  readonly names: boolean;
  readonly pairs: boolean;
  /** Images of known and of unknown people in one set. */
  readonly mixed: boolean;
  /** Pixels without a file format around them. Otherwise they are written as PNG. */
  readonly raw: boolean;
}

export interface DataFormat {
  /** What `--to` takes. */
  readonly name: string;
  /** One line for people. */
  readonly means: string;
  /** Ending of a name that stands for this format when writing, such as '.rec'. */
  readonly ending?: string;
  readonly holds: Holds;
  /** Whether a path holds this format: by name, and by its first bytes (up to 64; empty for a folder). */
  detect(path: string, folder: boolean, head: Uint8Array): boolean;
  open(path: string, options?: OpenOptions): Promise<Dataset>;
  /**
   * The folder that the pictures of a written set go to, where they are files of their own. Until such a set is whole,
   * the folder holds `progressFile`; of other formats there is a `path.part`.
   */
  folder?(path: string): string;
  /** Undefined where the format is only read. */
  create?(path: string, options?: CreateOptions): Promise<SetWriter>;
  /**
   * Writes a format that is a file of pairs, where an image stands as often as pairs have it, so that it is written by pairs
   * and not image by image. `read` gives the JPEG or PNG file of an image of `pairs`. Such a format has no `create`.
   */
  createFromPairs?(path: string, pairs: PairTable, read: (image: number) => Promise<Uint8Array>): Promise<void>;
}
