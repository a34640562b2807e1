/** `facegrad eval`: verification accuracy of a network over a pairs file, by a named protocol. */
import type { Command } from 'commander';
import { DataError } from '../core/errors.ts';
import type { ImageSource } from '../data/dataset.ts';
import { sourceName } from '../data/dataset.ts';
import { readPairs } from '../data/readPairs.ts';
import { needFar } from '../evaluate/metrics.ts';
import { type Flip, type Protocol, verify } from '../evaluate/verification.ts';
import { loadEmbedder } from '../node.ts';
import { checkPairs } from '../train/evaluation.ts';
import { addDeviceOptions, type DeviceChoice, openDevice } from './device.ts';
import { embedFiles, flips, oneOf } from './faces.ts';
import { print, printJson, showDuration } from './output.ts';

interface EvalFlags extends DeviceChoice {
  readonly weights: string;
  readonly images: string;
  readonly pairs: string;
  readonly protocol: string;
  readonly flip: string;
  readonly far: string;
  readonly json?: boolean;
}

const protocols: readonly Protocol[] = ['insightface', 'cosine'];
const percent = (x: number, digits = 2): string => `${(100 * x).toFixed(digits)} %`;

async function evaluate(flags: EvalFlags): Promise<void> {
  const protocol = oneOf('protocol', flags.protocol, protocols);
  const flip: Flip = oneOf('flip', flags.flip, flips);
  const far = Number(flags.far);
  needFar('--far', far);
  const set = readPairs(flags.pairs, flags.images);
  checkPairs(set);
  const rows = new Map<string, number>();
  const rowOf = (source: ImageSource): number => {
    if (source.kind !== 'file')
      throw new DataError(
        `${flags.pairs}: expected pairs of picture files, got ${sourceName(source)}\nName a pairs file.`,
      );
    const row = rows.get(source.path) ?? rows.size;
    rows.set(source.path, row);
    return row;
  };
  const left = set.pairs.map((p) => rowOf(p.a));
  const right = set.pairs.map((p) => rowOf(p.b));

  const device = await openDevice(flags);
  const embedder = await loadEmbedder(flags.weights, { device });
  try {
    const start = performance.now();
    const { embeddings, dim } = await embedFiles(embedder, [...rows.keys()], flip);
    const seconds = (performance.now() - start) / 1000;
    const result = verify(
      {
        embeddings,
        dim,
        left,
        right,
        same: set.pairs.map((p) => p.same),
        folds: set.pairs.map((p) => p.fold),
      },
      protocol,
      far,
    );
    const { accuracy, std, auc, eer, valAtFar, threshold, metric } = result;
    if (flags.json) {
      printJson({
        protocol,
        flip,
        pairs: result.pairs,
        images: rows.size,
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
      `${set.name}: ${result.pairs} pairs of ${rows.size} pictures, ${result.folds.length} folds; protocol ${protocol}, flip ${flip}`,
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
    print(`${showDuration(seconds)} for ${rows.size} pictures`);
  } finally {
    await embedder.dispose();
    await device.dispose();
  }
}

export function register(program: Command): void {
  const command = program
    .command('eval')
    .description('verification accuracy over a pairs file')
    .requiredOption('--weights <file>', 'weights that facegrad wrote')
    .requiredOption('--images <folder>', 'a folder per person, pictures Name_0001.jpg as in LFW')
    .requiredOption('--pairs <file>', "pairs.txt in LFW's format")
    .option('--protocol <name>', `${protocols.join(' or ')}; their numbers are not comparable`, 'insightface')
    .option('--flip <rule>', `use of the mirror image: ${flips.join(', ')}`, 'sum')
    .option('--far <rate>', 'false accept rate that VAL is given at', '1e-3')
    .option('--json', 'protocol, flip, pairs, accuracy, std, auc, eer, valAtFar, threshold as JSON');
  addDeviceOptions(command).action(evaluate);
}
