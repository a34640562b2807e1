/**
 * The registry of architectures: a network by its name and options, as checkpoints and the command line name it.
 *
 * The one idea: a network is fully described by plain data (name, options, preprocessing), which travels in the metadata
 * of its checkpoint, so that a weights file alone is enough to use it.
 */
import { DataError, UsageError } from '../core/errors.ts';
import { IrNet, type IrNetOptions, irDepths } from './irNet.ts';
import { MobileFaceNet, type MobileFaceNetOptions } from './mobileFaceNet.ts';
import type { FaceNetwork, Preprocessing } from './network.ts';

type Builder = (options: Readonly<Record<string, unknown>>) => FaceNetwork;

/**
 * Every architecture by its name in lower case: `mobilefacenet`, `ir` (options choose its depth and attention), and by
 * short names `ir-50`, `ir-se-50` and so on, which are the architecture `ir` with options and are stored as such.
 */
export const architectures: ReadonlyMap<string, Builder> = new Map<string, Builder>([
  ['mobilefacenet', (o) => new MobileFaceNet(o as MobileFaceNetOptions)],
  ['ir', (o) => new IrNet(o as IrNetOptions)],
  ...irDepths.map((depth): [string, Builder] => [`ir-${depth}`, (o) => new IrNet({ depth, ...o })]),
  ...irDepths.map((depth): [string, Builder] => [`ir-se-${depth}`, (o) => new IrNet({ depth, attention: 'se', ...o })]),
]);

/**
 * Builds a network by name; its parameters are empty until `initialize` or `loadState` fills them.
 * @throws UsageError for a name that is not in the registry, or options the network refuses
 */
export function create(architecture: string, options: Readonly<Record<string, unknown>> = {}): FaceNetwork {
  const build = architectures.get(architecture.toLowerCase());
  if (!build)
    throw new UsageError(
      `create: expected one of the architectures ${[...architectures.keys()].join(', ')}, got '${architecture}'\nCheck the spelling, or update facegrad.`,
    );
  return build(options);
}

/** What a checkpoint says of its network, as strings for `__metadata__`. */
export function describeNetwork(network: FaceNetwork): Record<'architecture' | 'options' | 'preprocessing', string> {
  return {
    architecture: network.architecture,
    options: JSON.stringify(network.options),
    preprocessing: JSON.stringify(network.preprocessing),
  };
}

/**
 * The network that a checkpoint's metadata describes, and how its images are prepared.
 * @param source what errors call the file
 * @throws DataError where the metadata names no architecture known here, or holds no such description
 */
export function networkOf(
  metadata: Readonly<Record<string, string>>,
  source: string,
): { network: FaceNetwork; preprocessing: Preprocessing } {
  const fail = (what: string, advice: string, cause?: unknown): never => {
    throw new DataError(`${source}: ${what}\n${advice}`, { cause });
  };
  const { architecture } = metadata;
  if (architecture === undefined)
    return fail('expected weights that name their architecture, got none', 'Give a file that facegrad wrote.');
  if (!architectures.has(architecture))
    fail(
      `expected one of the architectures ${[...architectures.keys()].join(', ')}, got '${architecture}'`,
      'A newer facegrad may have written it: update this one.',
    );
  const parse = (key: string): Record<string, unknown> => {
    try {
      const value: unknown = JSON.parse(metadata[key] ?? '{}');
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    } catch (error) {
      fail(`its metadata '${key}' is not JSON`, 'The file is damaged: write or fetch it again.', error);
    }
    return fail(`its metadata '${key}' is no object`, 'The file is damaged: write or fetch it again.');
  };
  try {
    const network = create(architecture, parse('options'));
    return { network, preprocessing: { ...network.preprocessing, ...parse('preprocessing') } };
  } catch (error) {
    if (error instanceof UsageError)
      fail(
        `its options do not fit ${architecture}: ${error.message.split('\n')[0]}`,
        'Write or fetch it again.',
        error,
      );
    throw error;
  }
}
