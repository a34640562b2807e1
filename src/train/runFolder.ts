/** What a run leaves in its folder beside the checkpoints: the recipe, the curve as CSV, a report, sample embeddings. */
import { appendFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';
import { sourceName } from '../data/dataset.ts';
import { htmlReport, type ReportPair } from '../evaluate/report.ts';
import { encodePng } from '../image/encode.ts';
import { writeNpy } from '../weights/npy.ts';
import { writeAtomically } from './checkpointFile.ts';
import { type Recipe, recipeLines } from './recipe.ts';
import type { SetResult } from './validation.ts';

const header = 'step,loss,lr,accuracy';
const text = (s: string) => new TextEncoder().encode(s);

export interface CurveRow {
  readonly step: number;
  readonly loss?: number;
  readonly lr?: number;
  readonly accuracy?: number;
}

/** Makes the folder. Throws DataError where it cannot. */
export async function makeRunFolder(out: string): Promise<void> {
  await mkdir(out, { recursive: true }).catch((e: Error) => {
    throw new DataError(`--out ${out}: expected a folder to write into, but ${e.message}\nChoose another one.`);
  });
}

/** The curve of a run, on disk after every row. */
export class Curve {
  readonly rows: CurveRow[];
  private readonly path: string;
  private constructor(path: string, rows: CurveRow[]) {
    this.path = path;
    this.rows = rows;
  }

  /** Opens the curve of a folder with the rows up to `step`; what a killed run wrote past it will come again. */
  static async open(out: string, step: number): Promise<Curve> {
    const path = join(out, 'curve.csv');
    const old = step > 0 ? await readFile(path, 'utf8').catch(() => '') : '';
    // A kill may have cut the last line: only lines that end count.
    const rows = old
      .split('\n')
      .slice(1, -1)
      .map((line) => line.split(','))
      .filter((cells) => cells.length === 4 && Number(cells[0]) <= step)
      .map(([s, loss, lr, accuracy]) => ({
        step: Number(s),
        ...(loss ? { loss: Number(loss) } : {}),
        ...(lr ? { lr: Number(lr) } : {}),
        ...(accuracy ? { accuracy: Number(accuracy) } : {}),
      }));
    await writeAtomically(path, text([header, ...rows.map(line), ''].join('\n')));
    return new Curve(path, rows);
  }

  add(row: CurveRow): void {
    this.rows.push(row);
    try {
      appendFileSync(this.path, `${line(row)}\n`);
    } catch (e) {
      throw new DataError(
        `writing ${this.path}: ${(e as Error).message}\nFree some space on that disk; the last checkpoint is whole: go on with --resume.`,
      );
    }
  }
}

const line = ({ step, loss, lr, accuracy }: CurveRow): string => [step, loss ?? '', lr ?? '', accuracy ?? ''].join(',');

export const writeRecipe = (out: string, recipe: Recipe): Promise<void> =>
  writeAtomically(join(out, 'recipe.json'), text(`${JSON.stringify(recipe, null, 2)}\n`));

const picture = (pixels: Uint8Array, [height, width]: readonly [number, number]): string =>
  `data:image/png;base64,${Buffer.from(encodePng({ width, height, data: pixels })).toString('base64')}`;

/** Example pairs: the first that are rightly the same, rightly different, and wrong. */
function examples({ evaluator, result }: SetResult, size: readonly [number, number], count = 12): ReportPair[] {
  const { left, right, same, folds } = evaluator.pairs;
  const thresholds = new Map(result.folds.map((f) => [f.fold, f.threshold]));
  const isCorrect = (i: number) => {
    const t = thresholds.get(folds[i]!)!;
    const accepted = result.metric === 'cosine' ? result.scores[i]! > t : result.scores[i]! < t;
    return accepted === (same[i] === 1);
  };
  const firstOf = (wanted: (i: number) => boolean) => {
    const found: number[] = [];
    for (let i = 0; i < same.length && found.length < count / 3; i++) if (wanted(i)) found.push(i);
    return found;
  };
  return [
    ...firstOf((i) => isCorrect(i) && same[i] === 1),
    ...firstOf((i) => isCorrect(i) && same[i] === 0),
    ...firstOf((i) => !isCorrect(i)),
  ].map((i) => ({
    left: picture(evaluator.pictures[left[i]!]!.pixels, size),
    right: picture(evaluator.pictures[right[i]!]!.pixels, size),
    same: same[i] === 1,
    score: result.scores[i]!,
    correct: isCorrect(i),
  }));
}

/** Writes report.html, and the embeddings of the first set's pictures with their names. */
export async function writeResults(
  out: string,
  recipe: Recipe,
  size: readonly [number, number],
  curve: Curve,
  facts: Readonly<Record<string, string | number>>,
  evaluated: readonly SetResult[],
): Promise<void> {
  const losses = curve.rows.filter((r) => r.loss !== undefined);
  const accuracies = curve.rows.filter((r) => r.accuracy !== undefined);
  const settings = Object.fromEntries(recipeLines(recipe).map((l) => /^(\S+)\s+(.*)$/.exec(l)!.slice(1)));
  const [first] = evaluated;
  const html = htmlReport({
    title: `Training run ${recipe.recipe}`,
    subtitle: out,
    facts: { ...facts, ...settings },
    loss: [{ name: 'loss', x: losses.map((r) => r.step), y: losses.map((r) => r.loss!) }],
    ...(accuracies.length
      ? {
          accuracy: [{ name: 'verification', x: accuracies.map((r) => r.step), y: accuracies.map((r) => r.accuracy!) }],
        }
      : {}),
    ...(first
      ? {
          verifications: evaluated.map(({ set, evaluator, result }) => ({
            name: `${set} (${evaluator.name}), flip ${recipe.evalFlip}`,
            result,
          })),
          pairs: examples(first, size),
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
