/**
 * The registry of architectures: a network by its name and options, as checkpoints and the command line name it.
 *
 * The one idea: a network is fully described by plain data (name, options, preprocessing), which travels in the metadata
 * of its checkpoint, so that a weights file alone is enough to use it.
 */
import { DataError, UsageError } from '../core/errors.ts';
import { nearest, type OptionSpecs, type Options } from '../core/options.ts';
import { denseNet } from './denseNet.ts';
import { irNet } from './irNet.ts';
import { k210Net } from './k210Net.ts';
import { mobileFaceNet } from './mobileFaceNet.ts';
import { mobileNetV2 } from './mobileNetV2.ts';
import { mobileNetV3 } from './mobileNetV3.ts';
import type { FaceNetwork, ModelEntry, Preprocessing } from './network.ts';
import { residualAttention } from './residualAttention.ts';
import { resNet } from './resNet.ts';
import { slimResNet } from './slimResNet.ts';
import { sphereNet } from './sphereNet.ts';

/** Every family of networks. */
export const models: readonly ModelEntry[] = [
  mobileFaceNet,
  k210Net,
  irNet,
  resNet,
  denseNet,
  sphereNet,
  slimResNet,
  residualAttention,
  mobileNetV2,
  mobileNetV3,
] as unknown as readonly ModelEntry[];

/** A name that `create` knows: a family's, or that of one of its variants. */
export interface Architecture {
  readonly name: string;
  readonly means: string;
  readonly family: ModelEntry;
  /** What a variant's name says already. */
  readonly preset: Options<OptionSpecs>;
}

/** Every name: `mobilefacenet`, `ir` (options choose its depth and attention), `ir-se-50` and so on. */
export const architectures: ReadonlyMap<string, Architecture> = new Map(
  models.flatMap((family) => [
    [family.name, { name: family.name, means: family.means, family, preset: {} }] as const,
    ...Object.entries(family.variants).map(
      ([name, { means, options }]) => [name, { name, means, family, preset: options }] as const,
    ),
  ]),
);

/** @throws UsageError naming the nearest where there is none of that name */
export function architectureOf(name: string): Architecture {
  const found = architectures.get(name.toLowerCase());
  if (found) return found;
  const names = [...architectures.keys()];
  throw new UsageError(
    `model: expected one of the networks ${names.join(', ')}, got '${name}'\nDid you mean '${nearest(name, names)}'?`,
  );
}

/**
 * Builds a network by name; its parameters are empty until `initialize` or `loadState` fills them.
 * @throws UsageError for a name that is not in the registry, or options the network refuses
 */
export function create(name: string, options: Readonly<Record<string, unknown>> = {}): FaceNetwork {
  const { family, preset } = architectureOf(name);
  return family.create({ ...preset, ...options });
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
