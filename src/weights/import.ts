/**
 * Other programs' models as this engine's networks: what the file is, what network its numbers are, how its pictures are
 * prepared; and the model file that results. Browser-safe.
 *
 * The one idea: a format's reader gives a graph or a state, a layout turns a state into a network, and from there on nothing
 * knows where the network came from: it is saved, described, trained and exported like one that was trained here.
 */
import { DataError, UsageError } from '../core/errors.ts';
import { entryOf } from '../core/options.ts';
import { describeNetwork } from '../models/described.ts';
import { detectorFacts } from '../models/detectors/recognise.ts';
import { type GraphNetwork, graphNetwork, withEmbedding } from '../models/graph/network.ts';
import type { FaceNetwork, Preprocessing } from '../models/network.ts';
import { stateOf, variablesOf } from '../nn/module.ts';
import { checkpointVersion } from './checkpoint.ts';
import { fileName, type WeightFormat, type WeightSource } from './format.ts';
import { weightFormats } from './formats.ts';
import { writeSafetensors } from './safetensors.ts';

export interface ImportOptions {
  /** Name of the format; by default it is told from the file. */
  readonly format?: string | undefined;
  /** [height, width] of the input, where the file leaves it open. */
  readonly inputSize?: readonly [number, number] | undefined;
  /** What of the preparation of pictures is known; it replaces what the file or its layout says. */
  readonly preprocessing?: Partial<Preprocessing> | undefined;
  /** Whose names a state has; by default it is told from the names. */
  readonly layout?: string | undefined;
  /** The registered network that a state is of, where no layout knows its names. */
  readonly architecture?: string | undefined;
  /** Options of that network. */
  readonly options?: Readonly<Record<string, unknown>> | undefined;
  /** Takes what fits and tells the rest, in place of refusing a state that differs. Default false. */
  readonly lenient?: boolean | undefined;
}

export interface ImportedModel {
  readonly network: FaceNetwork;
  /** Name of the file's format. */
  readonly format: string;
  /** Whose names a state had. */
  readonly layout?: string;
  /** Tensors of the network that the file lacks; they hold the numbers of a new network. Empty unless `lenient`. */
  readonly missing: readonly string[];
  /** Tensors of the file that the network has no place for. Empty unless `lenient`. */
  readonly unexpected: readonly string[];
  /** What a user may want to know. */
  readonly notes: readonly string[];
  /** What the model's file says beside its network. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bytes as a source, in a page or in memory; `others` are the files beside it, by name. */
export const bytesSource = (
  name: string,
  bytes: Uint8Array,
  others: ReadonlyMap<string, Uint8Array> = new Map(),
): WeightSource => ({ name, bytes: async () => bytes, beside: async (other) => others.get(fileName(other)) });

/**
 * The format of a file.
 * @throws DataError where none knows it
 */
export async function formatOf(source: WeightSource): Promise<WeightFormat> {
  const bytes = await source.bytes();
  const head = bytes.subarray(0, 4096);
  const found = weightFormats.find((f) => f.looksLike(head, source.name));
  if (found) return found;
  const known = weightFormats.map((f) => `${f.name} (${f.endings.join(', ')})`).join('; ');
  throw new DataError(
    `${source.name}: expected a model of a format that is known here, got ${bytes.length} bytes that none knows\nThe formats: ${known}. Where the ending is another one, name the format.`,
  );
}

/**
 * Reads another program's model.
 * @throws DataError for a file that is damaged, holds what is not supported (all of it is named), or whose tensors are not
 * those of the network, each named; UsageError for options that do not fit
 */
export async function importModel(source: WeightSource, options: ImportOptions = {}): Promise<ImportedModel> {
  const { inputSize, preprocessing } = options;
  const format = options.format ? entryOf('format', weightFormats, options.format) : await formatOf(source);
  const file = await format.read(source, { inputSize });
  const from = `${fileName(source.name)} (${format.name}`;
  if (file.kind === 'graph') {
    for (const key of ['layout', 'architecture'] as const)
      if (options[key] !== undefined)
        throw new UsageError(
          `${source.name}: expected no ${key}, got '${options[key]}': a ${format.name} file holds its network\nLeave it out.`,
        );
    const network = withEmbedding(graphNetwork(file.graph, source.name));
    const detector = detectorFacts(network);
    const said = { ...detector.preprocessing, ...file.preprocessing, ...preprocessing };
    network.preprocessing = { ...network.preprocessing, ...said };
    const notes = [...file.notes, ...detector.notes, ...(detector.preprocessing ? [] : otherOutputs(network))];
    return {
      network,
      format: format.name,
      missing: [],
      unexpected: [],
      notes: Object.keys(said).length ? notes : [...notes, unknownPreparation],
      metadata: { importedFrom: `${from})`, ...detector.metadata, ...file.metadata },
    };
  }
  const { layout, architecture, lenient } = options;
  const { networkFromState } = await import('./layouts/index.ts');
  const { network, report } = networkFromState(
    file,
    { layout, architecture, options: { ...(inputSize && { inputSize }), ...options.options }, lenient },
    source.name,
  );
  network.preprocessing = { ...network.preprocessing, ...preprocessing };
  const detector = detectorFacts(network);
  return {
    network,
    format: format.name,
    layout: report.layout,
    missing: report.missing,
    unexpected: report.unexpected,
    notes: [...file.notes, ...report.notes, ...detector.notes],
    metadata: { importedFrom: `${from}, ${report.layout})`, ...detector.metadata },
  };
}

/** The note on a graph whose file leaves that open. */
export const unknownPreparation =
  'the file does not say how its pictures are prepared; pixels are given as they are until that is said, or found out by trying';

/** A word on graphs that give more than one embedding, or maps. */
function otherOutputs({ outputShapes }: GraphNetwork): string[] {
  const [first, ...others] = outputShapes;
  if (others.length === 0 && first![1].filter((d) => d > 1).length <= 1) return [];
  const all = [...outputShapes].map(([name, shape]) => `${name} [${shape.join(', ')}]`);
  return [`it gives ${all.join(', ')}: the first, as it lies, is taken for the embedding`];
}

/** A network as the bytes of a weights file, which `loadEmbedder` and every command reads. */
export const modelBytes = async (
  network: FaceNetwork,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array> =>
  writeSafetensors(await stateOf(variablesOf(network)), {
    ...metadata,
    ...describeNetwork(network),
    format: 'facegrad',
    version: String(checkpointVersion),
  });
