/** `facegrad verify`: do two pictures show one person? Says the similarity, the decision and where the line comes from. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { type Flip, flips, unitRows } from '../evaluate/verification.ts';
import { loadEmbedder } from '../node.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embedPictures } from './faces.ts';
import { oneOf } from './options.ts';
import { print, printJson } from './output.ts';
import { defaultThreshold, statedUse, storedThreshold } from './threshold.ts';

interface VerifyFlags extends DeviceChoice {
  readonly weights: string;
  readonly threshold?: string;
  readonly flip?: string;
  readonly landmarks?: string;
  readonly json?: boolean;
}

/** The threshold, and in words where it is from. */
function line(flags: VerifyFlags, metadata: Readonly<Record<string, string>>): { threshold: number; from: string } {
  if (flags.threshold !== undefined) {
    const t = flags.threshold.trim() === '' ? Number.NaN : Number(flags.threshold);
    if (!(t >= -1 && t <= 1))
      throw new UsageError(
        `--threshold: expected a cosine from -1 to 1, got '${flags.threshold}'\nExample: --threshold 0.3.`,
      );
    return { threshold: t, from: 'given on the command line' };
  }
  const { threshold: stated } = statedUse(metadata);
  if (stated !== undefined) return { threshold: stated, from: 'stated when the model was imported' };
  const stored = storedThreshold(metadata);
  if (stored)
    return {
      threshold: stored.cosine,
      from: `stored in the weights: chosen on ${stored.data} (${stored.pairs} pairs, ${stored.protocol}, flip ${stored.flip}), accuracy ${(100 * stored.accuracy).toFixed(2)} %`,
    };
  return {
    threshold: defaultThreshold,
    from: 'the default: these weights hold no evaluation by the insightface protocol; measure your own with facegrad eval',
  };
}

async function verify(a: string, b: string, flags: VerifyFlags): Promise<void> {
  const given: Flip | undefined = flags.flip === undefined ? undefined : oneOf('flip', flags.flip, flips);
  const device = await openDevice(flags);
  const embedder = await loadEmbedder(flags.weights, { device });
  try {
    const { threshold, from } = line(flags, embedder.metadata);
    // A threshold belongs to the flip rule it was chosen under.
    const stored = storedThreshold(embedder.metadata)?.flip as Flip | undefined;
    const chosen = stored !== undefined && flips.includes(stored) ? stored : 'none';
    const flip = given ?? statedUse(embedder.metadata).flip ?? chosen;
    const { embeddings, dim } = await embedPictures(
      embedder,
      [a, b].map((path) => ({ kind: 'file', path })),
      flip,
      flags.landmarks,
    );
    const unit = unitRows(embeddings, dim);
    let similarity = 0;
    for (let k = 0; k < dim; k++) similarity += unit[k]! * unit[dim + k]!;
    const same = similarity >= threshold;
    if (flags.json) printJson({ a, b, similarity, same, threshold, thresholdFrom: from, flip });
    else {
      print(
        `${same ? 'same person' : 'different people'}: similarity ${similarity.toFixed(4)}, threshold ${threshold.toFixed(4)}`,
      );
      print(`threshold: ${from}`);
    }
  } finally {
    await embedder.dispose();
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('verify')
    .description('say whether two pictures of aligned faces show one person')
    .argument('<a>', 'a JPEG or PNG picture')
    .argument('<b>', 'another')
    .requiredOption('--weights <file>', 'weights that facegrad wrote')
    .option('--threshold <cosine>', `same person from here on (default: the weights' own, or ${defaultThreshold})`)
    .option(
      '--landmarks <file>',
      'five points a picture, to align photographs by (without it pictures are crops already)',
    )
    .option('--flip <rule>', `use of the mirror image: ${flips.join(', ')} (default: as the threshold was chosen)`)
    .option('--json', 'similarity, same, threshold, thresholdFrom as JSON')
    .addHelpText('after', '\nThe exit code tells of failures only, not of the decision.');
  addDeviceOptions(command).action(verify);
}
