/** Reads Keras' files: HDF5 (hdf5.ts) and archives of Keras 3, as a state or, with a configuration, as a graph (graph.ts). */
import { DataError } from '../../core/errors.ts';
import { rangesOf } from '../../core/ranges.ts';
import type { ImportedFile, ReadOptions, WeightSource } from '../format.ts';
import { isZip } from '../magic.ts';
import { openZip } from '../zip.ts';
import { graphOfKeras } from './graph.ts';
import { type KerasWeights, readKerasHdf5 } from './hdf5.ts';

function parsed(json: string, name: string, what: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new DataError(
      `${name}: expected ${what} in JSON, but ${(error as Error).message}\nIt may be damaged: fetch it again.`,
    );
  }
}

function imported(
  { tensors, numbered, version }: Pick<KerasWeights, 'tensors' | 'numbered' | 'version'>,
  config: unknown,
  name: string,
  { inputSize }: ReadOptions,
): ImportedFile {
  if (config === undefined)
    return {
      kind: 'state',
      tensors,
      convention: 'keras',
      notes: version ? [`weights alone, written by Keras ${version}`] : [],
    };
  const { graph, notes } = graphOfKeras(config, tensors, { file: name, inputSize, version, numbered });
  return {
    kind: 'graph',
    graph,
    notes: [...notes, 'Keras does not save how images are prepared: (x - 127.5)/127.5 or x/255 are usual'],
  };
}

async function archive(bytes: Uint8Array, name: string, options: ReadOptions): Promise<ImportedFile> {
  const entries = await openZip(rangesOf(bytes, name));
  const entry = async (wanted: string): Promise<Uint8Array> => {
    const found = entries.get(wanted);
    if (found) return found.read();
    throw new DataError(
      `${name}: expected an archive of Keras 3 with ${wanted}, got one with ${[...entries.keys()].slice(0, 5).join(', ')}\nSave it with model.save('NAME.keras').`,
    );
  };
  const config = parsed(new TextDecoder().decode(await entry('config.json')), name, "the model's configuration");
  const weights = await readKerasHdf5(await entry('model.weights.h5'), name);
  return imported({ ...weights, version: weights.version || '3' }, config, name, options);
}

/** Throws DataError for a file that is damaged or holds what is not supported. */
export async function readKeras(source: WeightSource, options: ReadOptions): Promise<ImportedFile> {
  const all = await source.bytes();
  const { name } = source;
  if (isZip(all)) return archive(all, name, options);
  const file = await readKerasHdf5(all, name);
  const config = file.config === undefined ? undefined : parsed(file.config, name, "the model's configuration");
  return imported(file, config, name, options);
}
