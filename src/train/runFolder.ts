/** What a run leaves in its folder beside the checkpoints: the recipe, a report, sample embeddings. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';
import { sourceName } from '../data/dataset.ts';
import { htmlReport, type ReportPair } from '../evaluate/report.ts';
import { encodePng } from '../image/encode.ts';
import type { Parameter } from '../nn/module.ts';
import { writeNpy } from '../weights/npy.ts';
import { writeAtomically } from './checkpointFile.ts';
import type { LogRow } from './logFile.ts';
import type { Recipe } from './recipe.ts';
import { recipeLines } from './recipeText.ts';
import { type JudgedPair, judgedPairs } from './samples.ts';
import { rulesFor, type Trainable } from './trainable.ts';
import type { SetResult } from './validation.ts';

const text = (s: string) => new TextEncoder().encode(s);

/** Makes the folder. Throws DataError where it cannot. */
export async function makeRunFolder(out: string): Promise<void> {
  await mkdir(out, { recursive: true }).catch((e: Error) => {
    throw new DataError(`--out ${out}: expected a folder to write into, but ${e.message}\nChoose another one.`);
  });
}

export const writeRecipe = (out: string, recipe: Recipe): Promise<void> =>
  writeAtomically(join(out, 'recipe.json'), text(`${JSON.stringify(recipe, null, 2)}\n`));

/** A row per parameter: what it is and what the recipe's rules make of it. */
export async function writeParameters(
  out: string,
  t: Trainable,
  recipe: Recipe,
  frozen: ReadonlySet<Parameter>,
): Promise<void> {
  const { decay, rate } = rulesFor(t.parameterSet, recipe);
  const rows = t.optimizer.parameters.map((p) =>
    [p.name, p.shape.join('x'), p.size, decay(p), rate(p), frozen.has(p)].join(','),
  );
  await writeAtomically(
    join(out, 'parameters.csv'),
    text(['name,shape,size,weightDecay,rateFactor,frozen', ...rows, ''].join('\n')),
  );
}

const picture = (pixels: Uint8Array, [height, width]: readonly [number, number]): string =>
  `data:image/png;base64,${Buffer.from(encodePng({ width, height, data: pixels })).toString('base64')}`;

/** Example pairs: the first that are rightly the same, rightly different, and wrong. */
function examples({ evaluator, result }: SetResult, count = 12): ReportPair[] {
  const { left, right, folds } = evaluator.pairs;
  const judged = judgedPairs(result, folds);
  const some = (wanted: (p: JudgedPair) => boolean) => judged.filter(wanted).slice(0, count / 3);
  return [...some((p) => p.correct && p.same), ...some((p) => p.correct && !p.same), ...some((p) => !p.correct)].map(
    ({ pair, same, score, correct }) => ({
      left: picture(evaluator.pictures[left[pair]!]!.pixels, evaluator.size),
      right: picture(evaluator.pictures[right[pair]!]!.pixels, evaluator.size),
      same,
      score,
      correct,
    }),
  );
}

/** Writes report.html, and the embeddings of the first set's pictures with their names. */
export async function writeResults(
  out: string,
  recipe: Recipe,
  rows: readonly LogRow[],
  facts: Readonly<Record<string, string | number>>,
  evaluated: readonly SetResult[],
): Promise<void> {
  const curveOf = (name: string, of: (r: LogRow) => number | undefined) => {
    const held = rows.filter((r) => of(r) !== undefined);
    return { name, x: held.map((r) => r.step), y: held.map((r) => of(r)!) };
  };
  const sets = [...new Set(rows.flatMap((r) => Object.keys(r.validation ?? {})))];
  const accuracy = [
    curveOf('batch', (r) => r.accuracy),
    ...sets.map((set) => curveOf(set, (r) => r.validation?.[set])),
  ].filter((c) => c.x.length > 0);
  const settings = Object.fromEntries(recipeLines(recipe).map((l) => /^(\S+)\s+(.*)$/.exec(l)!.slice(1)));
  const [first] = evaluated;
  const html = htmlReport({
    title: `Training run ${recipe.recipe}`,
    subtitle: out,
    facts: { ...facts, ...settings },
    loss: [curveOf('loss', (r) => r.loss)],
    ...(accuracy.length ? { accuracy } : {}),
    ...(first
      ? {
          verifications: evaluated.map(({ set, result }) => ({
            name: `${set}, flip ${recipe.evalFlip}`,
            result,
          })),
          pairs: examples(first),
        }
      : {}),
  });
  await writeAtomically(join(out, 'report.html'), text(html));
  if (!first) return;
  const { embeddings, dim, evaluator } = first;
  const shape = [embeddings.length / dim, dim];
  await writeAtomically(join(out, 'embedding.npy'), writeNpy({ dtype: 'f32', shape, data: embeddings }));
  const names = evaluator.pictures.map((p) => `${sourceName(p.source)}\n`).join('');
  await writeAtomically(join(out, 'embedding.names.txt'), text(names));
}
