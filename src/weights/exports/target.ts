/**
 * What every form of a deployable model is to the exporter: a record that writes its files and reads them back.
 *
 * The one idea: a target gets the network's graph, never the network's class, so that whatever runs here can leave. Training
 * heads and optimizers are no part of a network and thereby of no export.
 */
import { UsageError } from '../../core/errors.ts';
import type { HostTensor } from '../../core/tensor.ts';
import { folded, withPreprocessing } from '../../models/graph/fold.ts';
import type { Graph } from '../../models/graph/spec.ts';
import type { FaceNetwork, Preprocessing } from '../../models/network.ts';
import { bytesSource, importModel } from '../import.ts';

/** A file of an export; its name may have a folder of its own. */
export interface ExportFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface ExportContext {
  readonly network: FaceNetwork;
  /** The network as it is. */
  readonly graph: Graph;
  /** What the model's file says of it. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Name of the main file. */
  readonly name: string;
  /** Whether the files take pixels, and colours and normalisation are in them; or what the network takes. */
  readonly preprocessing: 'include' | 'leave';
  /** Weights in half precision, where the target can. */
  readonly half: boolean;
  /** Batches of uint8 RGB pictures [N, H, W, 3] for targets that calibrate. */
  readonly pictures?: readonly HostTensor[] | undefined;
  readonly onProgress?: ((what: string, done: number, all: number) => void) | undefined;
  /** From which cosine on two embeddings are taken for one person's, and where that is from. */
  readonly threshold: { readonly cosine: number; readonly from: string };
  /** The script of the engine for pages. */
  engine(): Promise<string>;
}

export interface Exported {
  /** The main one first. */
  readonly files: readonly ExportFile[];
  /** What a user may want to know. */
  readonly notes: readonly string[];
}

export interface ExportTarget {
  /** As `--to` has it. */
  readonly name: string;
  /** One line, without a full stop. */
  readonly means: string;
  /** Endings by which it is chosen, lower case, with the dot. */
  readonly endings: readonly string[];
  /** It takes prepared pictures and pixels alike; without it, files always take what the network takes. */
  readonly prepares: boolean;
  /** It is calibrated with pictures. */
  readonly calibrates?: true;
  /** It may keep weights in half precision. */
  readonly halves?: true;
  /** Its numbers are not those of float32: embeddings are near, not equal. */
  readonly lossy?: true;
  /** @throws UsageError naming what of the network the target cannot express */
  write(context: ExportContext): Promise<Exported>;
  /** The network that the files hold, by this engine. */
  readBack(files: readonly ExportFile[], context: ExportContext): Promise<FaceNetwork>;
}

/** Pixels as they are. */
const raw = ({ inputSize }: Preprocessing): Preprocessing => ({ colourOrder: 'RGB', mean: 0, scale: 1, inputSize });

/** The folded graph, with the preparation of its pictures if it is to be in the files. */
export function deployed(
  { graph, network, preprocessing }: ExportContext,
  options: Parameters<typeof folded>[1] = {},
): Graph {
  const bare = folded(graph, options);
  return preprocessing === 'include' ? withPreprocessing(bare, network.preprocessing) : bare;
}

/** How pictures are prepared for the files of an export. */
export const takenBy = ({ network, preprocessing }: ExportContext): Preprocessing =>
  preprocessing === 'include' ? raw(network.preprocessing) : network.preprocessing;

/** The pictures to calibrate with. Throws UsageError where there are none. */
export function calibrated({ pictures }: ExportContext): readonly HostTensor[] {
  if (pictures?.length) return pictures;
  throw new UsageError('export: expected pictures to calibrate with, got none\nGive some hundred like those of use.');
}

/** The files by this engine's own importer. */
export async function imported(files: readonly ExportFile[], context: ExportContext): Promise<FaceNetwork> {
  const [main, ...others] = files;
  const source = bytesSource(main!.name, main!.bytes, new Map(others.map((f) => [f.name, f.bytes])));
  const { network } = await importModel(source);
  network.preprocessing = takenBy(context);
  return network;
}

/** What of a model's metadata is true of the exported one: not where its training stands. */
export function lastingMetadata(metadata: Readonly<Record<string, string>>): Record<string, string> {
  const kept = ['verification', 'use', 'importedFrom', 'licence', 'producer'];
  return Object.fromEntries(Object.entries(metadata).filter(([key]) => kept.includes(key)));
}
