/**
 * What every format of weights is to the importer: a record that recognises its files and reads them.
 *
 * The one idea: a file holds either a graph, which is a network already, or a state (tensors by name), which needs a layout
 * (layouts/) to say which network's they are.
 */
import type { Graph } from '../models/graph/spec.ts';
import type { Preprocessing } from '../models/network.ts';
import type { HostTensor } from './safetensors.ts';

/** A file, and those that lie beside it. */
export interface WeightSource {
  /** What errors call it; its ending may tell the format. */
  readonly name: string;
  bytes(): Promise<Uint8Array>;
  /** The bytes of a file in the same folder; undefined where there is none. */
  beside(name: string): Promise<Uint8Array | undefined>;
}

/** A file's name without its folders, whichever way they are written. */
export const fileName = (path: string): string => path.replace(/^.*[\\/]/s, '');

/** What a file tells beside its numbers. */
interface Told {
  /** What a user may want to know: an epoch, what was left out. */
  readonly notes: readonly string[];
}

export interface GraphFile extends Told {
  readonly kind: 'graph';
  readonly graph: Graph;
  /** As far as the file says. */
  readonly preprocessing?: Partial<Preprocessing>;
  /** More for the metadata of the imported model. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Whose names and axes a state's tensors have: conv weights OIHW and dense [out, in] (PyTorch, MXNet), or HWIO and [in, out]. */
export type Convention = 'pytorch' | 'mxnet' | 'tensorflow' | 'keras';

export interface StateFile extends Told {
  readonly kind: 'state';
  /** In the order of the file. */
  readonly tensors: ReadonlyMap<string, HostTensor>;
  readonly convention: Convention;
  /** What a safetensors file says of itself; facegrad's own name their network. */
  readonly metadata?: Readonly<Record<string, string>>;
}

export type ImportedFile = GraphFile | StateFile;

export interface ReadOptions {
  /** [height, width] where the file leaves it open. */
  readonly inputSize?: readonly [number, number] | undefined;
}

export interface WeightFormat {
  /** As the command line has it: 'onnx'. */
  readonly name: string;
  /** One line, without a full stop. */
  readonly means: string;
  /** Endings of its files, lower case, with the dot. */
  readonly endings: readonly string[];
  /** Whether a file is one of its, by the first bytes (up to 4096) and the name. */
  looksLike(head: Uint8Array, name: string): boolean;
  /** @throws DataError for a file that is none, is damaged, or holds what is not supported, naming all of that */
  read(source: WeightSource, options: ReadOptions): Promise<ImportedFile>;
}
