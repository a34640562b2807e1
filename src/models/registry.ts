/**
 * The registry of architectures: a network by its name and options, as checkpoints and the command line name it.
 *
 * The one idea: a network is fully described by plain data (name, options, preprocessing), which travels in the metadata
 * of its checkpoint, so that a weights file alone is enough to use it.
 */
import { DataError, UsageError } from '../core/errors.ts';
import { nearest, type OptionSpecs, type Options } from '../core/options.ts';
import { denseNet } from './denseNet.ts';
import { networkBy } from './described.ts';
import { irNet } from './irNet.ts';
import { k210Net } from './k210Net.ts';
import { mobileFaceNet } from './mobileFaceNet.ts';
import { mobileNetV2 } from './mobileNetV2.ts';
import { mobileNetV3 } from './mobileNetV3.ts';
import type { FaceNetwork, ModelEntry } from './network.ts';
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

/**
 * @param also one more that is known
 * @throws UsageError naming the nearest where there is none of that name
 */
export function architectureOf(name: string, also?: Architecture): Architecture {
  const found = name === also?.name ? also : architectures.get(name.toLowerCase());
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
export function create(
  name: string,
  options: Readonly<Record<string, unknown>> = {},
  also?: Architecture,
): FaceNetwork {
  const { family, preset } = architectureOf(name, also);
  return family.create({ ...preset, ...options });
}

/**
 * The network that a checkpoint's metadata describes, and how its images are prepared.
 * @param source what errors call the file
 * @throws DataError where the metadata names no architecture known here, or holds no such description
 */
export function networkOf(
  metadata: Readonly<Record<string, string>>,
  source: string,
  also?: Architecture,
): FaceNetwork {
  const fail = (what: string, advice: string): never => {
    throw new DataError(`${source}: ${what}\n${advice}`);
  };
  const { architecture } = metadata;
  if (architecture === undefined)
    return fail('expected weights that name their architecture, got none', 'Give a file that facegrad wrote.');
  if (architecture === 'int8')
    fail(
      'expected a float32 network, got one in 8 bits',
      'It embeds, evaluates and verifies; to train or to export, take the network that it was quantised from.',
    );
  if (architecture !== also?.name && !architectures.has(architecture))
    fail(
      `expected one of the architectures ${[...architectures.keys()].join(', ')}, got '${architecture}'`,
      'A newer facegrad may have written it: update this one.',
    );
  return networkBy((options) => create(architecture, options, also), metadata, source);
}
