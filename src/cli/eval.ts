/** `facegrad eval`: verification accuracy of a network over a pairs file, by a named protocol. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import { pairsOf, refolded } from '../data/openPairs.ts';
import { needFar } from '../evaluate/metrics.ts';
import { type Flip, flips, type Protocol, verify } from '../evaluate/verification.ts';
import { subEmbedding } from '../heads/multiFace.ts';
import { loadEmbedder } from '../node.ts';
import { checkPairs, pairRows } from '../train/evaluation.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embedPictures } from './faces.ts';
import { oneOf } from './options.ts';
import { print, printJson, showDuration } from './output.ts';

interface EvalFlags extends DeviceChoice {
  readonly weights: string;
  readonly images?: string;
  readonly pairs?: string;
  readonly protocol: string;
  readonly flip: string;
  readonly far: string;
  readonly folds?: string;
  readonly subEmbedding?: string;
  readonly batchStatistics?: boolean;
  readonly landmarks?: string;
  readonly json?: boolean;
}

const protocols: readonly Protocol[] = ['insightface', 'cosine'];
const percent = (x: number, digits = 2): string => `${(100 * x).toFixed(digits)} %`;

/** The slice `i/n` of every embedding, i from 1; of both where two are concatenated. */
function sliced(
  { embeddings, dim }: { readonly embeddings: Float32Array; readonly dim: number },
  size: number,
  which: string | undefined,
): { readonly embeddings: Float32Array; readonly dim: number } {
  if (which === undefined) return { embeddings, dim };
  const [i, n] = (/^(\d+)\/(\d+)$/.exec(which) ?? []).slice(1).map(Number);
  if (i === undefined || n === undefined || i < 1 || i > n || size % n)
    throw new UsageError(
      `--sub-embedding: expected i/n with i from 1 to n and n a divisor of the embedding size ${size}, got '${which}'\nExample: --sub-embedding 1/2.`,
    );
  return { embeddings: subEmbedding(embeddings, size, n, i - 1), dim: dim / n };
}

async function evaluate(flags: EvalFlags): Promise<void> {
  const protocol = oneOf('protocol', flags.protocol, protocols);
  const flip: Flip = oneOf('flip', flags.flip, flips);
  const far = Number(flags.far);
  needFar('--far', far);
  let set = await pairsOf(flags);
  if (flags.folds !== undefined) {
    const folds = Number(flags.folds);
    if (!Number.isInteger(folds) || folds < 2 || folds > set.pairs.left.length)
      throw new UsageError(
        `--folds: expected a whole number from 2 to the ${set.pairs.left.length} pairs, got '${flags.folds}'\nProtocols have ten.`,
      );
    set = refolded(set, folds);
  }
  checkPairs(set);
  const { sources, ...input } = pairRows(set);

  const device = await openDevice(flags);
  const embedder = await loadEmbedder(flags.weights, { device, batchStatistics: flags.batchStatistics });
  try {
    const start = performance.now();
    const whole = await embedPictures(embedder, sources, flip, flags.landmarks);
    const { embeddings, dim } = sliced(whole, embedder.embeddingSize, flags.subEmbedding);
    const seconds = (performance.now() - start) / 1000;
    const result = verify({ embeddings, dim, ...input }, protocol, far);
    const { accuracy, std, auc, eer, valAtFar, threshold, metric } = result;
    if (flags.json) {
      printJson({
        protocol,
        flip,
        pairs: result.pairs,
        images: sources.length,
        folds: result.folds.length,
        accuracy,
        std,
        auc,
        eer,
        valAtFar,
        threshold,
        metric,
        foldResults: result.folds,
        seconds,
      });
      return;
    }
    print(
      `${set.name}: ${result.pairs} pairs of ${sources.length} pictures, ${result.folds.length} folds; protocol ${protocol}, flip ${flip}`,
    );
    print(
      `accuracy   ${percent(accuracy)} ± ${percent(std)}   (folds: ${result.folds.map((f) => percent(f.accuracy)).join(', ')})`,
    );
    print(`AUC        ${auc.toFixed(5)}`);
    print(`EER        ${percent(eer)}`);
    print(
      `VAL        ${percent(valAtFar.val)} ± ${percent(valAtFar.std)} at FAR ${valAtFar.target} (seen ${valAtFar.far.toExponential(1)})`,
    );
    print(
      `threshold  ${threshold.toFixed(4)} (${metric === 'cosine' ? 'cosine about the mean of the training folds, accepted above' : 'squared L2 of unit vectors, accepted below'})`,
    );
    print(`${showDuration(seconds)} for ${sources.length} pictures`);
  } finally {
    await embedder.dispose();
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('eval')
    .description('verification accuracy over pairs of pictures')
    .requiredOption('--weights <file>', 'weights that facegrad wrote')
    .option(
      '--images <set>',
      'the pictures: a data set of any format, such as a folder per person with Name_0001.jpg as in LFW',
    )
    .option(
      '--pairs <file>',
      "pairs.txt in LFW's format, or 'a.jpg b.jpg 1|-1' lines; or a verification set such as lfw.bin, without --images (default: the pairs that --images holds)",
    )
    .option('--protocol <name>', `${protocols.join(' or ')}; their numbers are not comparable`, 'insightface')
    .option(
      '--landmarks <file>',
      'five points a picture, to align photographs by (without it pictures are crops already)',
    )
    .option('--flip <rule>', `use of the mirror image: ${flips.join(', ')}`, 'sum')
    .option('--folds <n>', 'contiguous folds of equal size, in place of those that the set names')
    .option('--sub-embedding <i/n>', 'score slice i of n alone, as networks trained with MultiFace have them')
    .option(
      '--batch-statistics',
      'batch norm by the moments of each batch, as while training: to see whether the running ones fit',
    )
    .option('--far <rate>', 'false accept rate that VAL is given at', '1e-3')
    .option('--json', 'protocol, flip, pairs, accuracy, std, auc, eer, valAtFar, threshold as JSON');
  addDeviceOptions(command).action(evaluate);
}
