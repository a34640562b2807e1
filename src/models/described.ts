/**
 * What a checkpoint says of its network: architecture, options and preprocessing as text, and which of its tensors the network
 * is used with. It is apart from the registry, so that who writes a network need not bring every other.
 */
import { DataError, UsageError } from '../core/errors.ts';
import type { FaceNetwork, Preprocessing } from './network.ts';

/** What a checkpoint says of its network, as strings for `__metadata__`. */
export function describeNetwork(network: FaceNetwork): Record<'architecture' | 'options' | 'preprocessing', string> {
  return {
    architecture: network.architecture,
    options: JSON.stringify(network.options),
    preprocessing: JSON.stringify(network.preprocessing),
  };
}

/** How the images of a checkpoint's network are prepared, as far as its metadata says. Throws DataError as `networkOf`. */
export const storedPreprocessing = (
  metadata: Readonly<Record<string, string>>,
  source: string,
): Partial<Preprocessing> => recordIn(metadata, 'preprocessing', source);

/** A value of the metadata that is a record as JSON; an empty one where there is none. */
function recordIn(metadata: Readonly<Record<string, string>>, key: string, source: string): Record<string, unknown> {
  const damaged = (what: string, cause?: unknown) =>
    new DataError(`${source}: its metadata '${key}' is ${what}\nThe file is damaged: write or fetch it again.`, {
      cause,
    });
  let value: unknown;
  try {
    value = JSON.parse(metadata[key] ?? '{}');
  } catch (error) {
    throw damaged('not JSON', error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged('no object');
  return value as Record<string, unknown>;
}

/**
 * The tensors that a checkpoint's network is used with: where the run kept moving averages of its weights, those, under the
 * weights' own names.
 */
export function inferenceState<T>(
  tensors: ReadonlyMap<string, T>,
  metadata: Readonly<Record<string, string>>,
): ReadonlyMap<string, T> {
  if (metadata.averaged !== 'true') return tensors;
  return new Map([...tensors].map(([name, tensor]) => [name, tensors.get(`${name}.average`) ?? tensor]));
}

/**
 * The network that is made of a checkpoint's options, and how its images are prepared.
 * @param source what errors call the file
 * @throws DataError where they are damaged or do not fit
 */
export function networkBy<T extends FaceNetwork>(
  make: (options: Readonly<Record<string, unknown>>) => T,
  metadata: Readonly<Record<string, string>>,
  source: string,
): T {
  try {
    const network = make(recordIn(metadata, 'options', source));
    network.preprocessing = { ...network.preprocessing, ...storedPreprocessing(metadata, source) };
    return network;
  } catch (error) {
    if (error instanceof UsageError)
      throw new DataError(
        `${source}: its options do not fit ${metadata.architecture}: ${error.message.split('\n')[0]}\nWrite or fetch it again.`,
        { cause: error },
      );
    throw error;
  }
}
