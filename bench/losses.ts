/**
 * Every loss on one fixed budget: the same small network, pictures, batches, steps and learning rate, and the accuracy on
 * people who are in none of them. What a loss needs otherwise (a scale for few people, batches of P people with K pictures)
 * stands beside its figure.
 *
 * A file of results is gone on with: cases that it holds for the same settings are not run again.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { isAbsolute, join, relative } from 'node:path';
import { UsageError } from '../src/core/errors.ts';
import { enableFastKernels } from '../src/device/v8.ts';
import { WasmDevice } from '../src/device/wasm.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../src/train/recipe.ts';
import { train } from '../src/train/run.ts';
import { commitOf, loadNow, type MachineBlock, machineBlock } from './machine.ts';

export interface LossBenchOptions {
  /** Pictures to train on; default: synthetic people. */
  readonly data?: string;
  /** Pairs to evaluate on, and the set of their pictures; default: synthetic people, none of those trained on. */
  readonly pairs?: string;
  readonly images?: string;
  /** Default 4, or 8 on synthetic people. */
  readonly epochs?: number;
  /** Names of the cases to run; default: all. */
  readonly only?: readonly string[];
  readonly threads?: number;
  readonly seed?: number;
  /** Weights of a teacher, for the distillation case. */
  readonly teacher?: string;
  /** Results are added to this file after every case. */
  readonly out?: string;
  readonly print?: (text: string) => void;
  readonly log?: (line: string) => void;
}

export interface LossRow {
  readonly name: string;
  /** What differs from the common recipe. */
  readonly changes: RecipeChanges;
  /** On all folds, with its deviation over them. */
  readonly accuracy: number;
  readonly std: number;
  readonly loss: number;
  readonly steps: number;
  /** Wall time of the run. */
  readonly seconds: number;
}

export interface LossReport {
  readonly machine: MachineBlock;
  readonly commit: string | null;
  /** Everything that the cases share. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly rows: readonly LossRow[];
}

/** Batches of people with several pictures each, for metric losses. */
const pk: RecipeChanges = { sampler: { people: 16, images: 4 } };

/**
 * Every loss with its margins times `f`. Cosines of a few hundred people want a smaller scale than the papers' 64, which is
 * for tens of thousands; drawn faces are learned in a few hundred steps, in which full margins do not converge.
 */
export function casesOf(s: number, f: number): Readonly<Record<string, RecipeChanges>> {
  const at = (margin: number): number => Math.round(1000 * margin * f) / 1000;
  const multi = (loss: string, n: number, m: number, more = {}) => ({
    head: { name: 'multiface', loss, n, s, ...(loss === 'normface' ? {} : { m: at(m) }), ...more },
  });
  return {
    softmax: { head: { name: 'softmax' } },
    'softmax with bias': { head: { name: 'softmax', bias: true } },
    normface: { head: { name: 'normface', s } },
    arcface: { head: { name: 'arcface', s, m: at(0.5) } },
    cosface: { head: { name: 'cosface', s, m: at(0.35) } },
    'multiface normface N=2': multi('normface', 2, 0),
    'multiface normface N=4': multi('normface', 4, 0),
    'multiface arcface N=2': multi('arcface', 2, 0.3),
    'multiface cosface N=2': multi('cosface', 2, 0.3),
    'multiface arcface N=2, slices of length 1': multi('arcface', 2, 0.3, { norm: 'slice' }),
    'arcface m=0.3': { head: { name: 'arcface', s, m: at(0.3) } },
    'arcface easy margin': { head: { name: 'arcface', s, m: at(0.5), easyMargin: true } },
    'arcface automatic scale': { head: { name: 'arcface', s: 'auto', m: at(0.5) } },
    'arcface a third of the classes': { head: { name: 'arcface', s, m: at(0.5), sampleRate: 0.3 } },
    sphereface: { head: { name: 'sphereface' } },
    combined: { head: { name: 'combined', s, m2: at(0.3), m3: at(0.2) } },
    multimargin: { head: { name: 'multimargin', s, m2: at(0.2), m3: at(0.35) } },
    adacos: { head: { name: 'adacos' } },
    'adacos fixed scale': { head: { name: 'adacos', dynamic: false } },
    curricularface: { head: { name: 'curricularface', s, m: at(0.5) } },
    adaface: { head: { name: 'adaface', s, m: at(0.4) } },
    magface: { head: { name: 'magface', s, lm: at(0.4), um: at(0.8) } },
    'subcenter-arcface': { head: { name: 'subcenter-arcface', s, m: at(0.5) } },
    'softmax + center': { head: { name: 'softmax' }, terms: { center: 0.01 } },
    'softmax + agent-center': { head: { name: 'softmax' }, terms: { 'agent-center': 1 } },
    'softmax + prelogits-norm': { head: { name: 'softmax' }, terms: { 'prelogits-norm': 2e-5 } },
    'triplet batch-all': { head: { name: 'triplet', mining: 'batch-all' }, ...pk },
    'triplet batch-hard': { head: { name: 'triplet', mining: 'batch-hard' }, ...pk },
    'triplet semi-hard': { head: { name: 'triplet', mining: 'semi-hard' }, ...pk },
    contrastive: { head: { name: 'contrastive' }, ...pk },
  };
}
const distilled = (teacher: string, s: number): RecipeChanges => ({
  head: { name: 'arcface', s },
  distillation: { teacher, weight: 10 },
});

/** The recipe that all cases share. */
function common({ data, pairs, images, epochs, seed = 1 }: LossBenchOptions): RecipeChanges {
  return {
    model: { name: 'mobilefacenet', width: 0.5, inputSize: data === undefined ? [32, 32] : [48, 48] },
    epochs: epochs ?? (data === undefined ? 8 : 4),
    batch: 64,
    lr: 0.1,
    schedule: { milestones: [0.6, 0.85], warmupSteps: 50 },
    seed,
    ...(data === undefined ? {} : { data }),
    ...(pairs === undefined && images === undefined ? {} : { validation: { pairs: { pairs, images } } }),
    evalIdentities: 200,
    evalProtocol: 'cosine',
    evalFlip: 'concat',
    logEverySteps: 50,
    saveEverySteps: 0,
    samples: false,
    tensorBoard: false,
  };
}

async function runCase(
  name: string,
  changes: RecipeChanges,
  o: LossBenchOptions,
  settings: RecipeChanges,
): Promise<LossRow> {
  const recipe: Recipe = resolveRecipe('mobilefacenet-arcface', { ...settings, ...changes }, `case ${name}`);
  const device = await WasmDevice.create({ threads: o.threads ?? 2 });
  const out = mkdtempSync(join(tmpdir(), 'facegrad-losses-'));
  const started = performance.now();
  try {
    const result = await train(recipe, {
      device,
      out,
      onEvent(e) {
        if (e.type === 'step')
          o.log?.(
            `${name}: step ${e.step}, loss ${e.loss.toFixed(3)}, hits ${(100 * e.hitRate).toFixed(0)} %, ${e.imagesPerSecond.toFixed(0)} images/s`,
          );
      },
    });
    const { accuracy, std } = result.evaluation!;
    const seconds = Math.round((performance.now() - started) / 1000);
    return { name, changes, accuracy, std, loss: result.loss!, steps: result.steps, seconds };
  } finally {
    await device.dispose();
    rmSync(out, { recursive: true, force: true });
  }
}

/** Paths from this folder, so that results name none of the machine's. */
const withoutPaths = (settings: RecipeChanges) =>
  JSON.parse(JSON.stringify(settings, (_, x) => (typeof x === 'string' && isAbsolute(x) ? relative('.', x) : x)));

/** Trains every case. Throws DataError for data that cannot be trained or evaluated on. */
export async function benchLosses(o: LossBenchOptions): Promise<LossReport> {
  enableFastKernels();
  const settings = common(o);
  const machine = machineBlock(['wide'], {}, loadNow());
  const shown = withoutPaths(settings);
  const rows: LossRow[] = [];
  if (o.out !== undefined && existsSync(o.out)) {
    const old = JSON.parse(readFileSync(o.out, 'utf8')) as LossReport;
    if (JSON.stringify(old.settings) === JSON.stringify(shown)) rows.push(...old.rows);
  }
  const report = (): LossReport => ({ machine, commit: commitOf(), settings: shown, rows });
  const [s, f] = o.data === undefined ? ([24, 0.4] as const) : ([32, 1] as const);
  const wanted: Readonly<Record<string, RecipeChanges>> = {
    ...casesOf(s, f),
    ...(o.teacher === undefined ? {} : { 'arcface + distillation': distilled(o.teacher, s) }),
  };
  for (const name of o.only ?? [])
    if (!Object.hasOwn(wanted, name))
      throw new UsageError(
        `--only: expected some of ${Object.keys(wanted).join(', ')}, got '${name}'\nCheck the spelling.`,
      );
  for (const [name, changes] of Object.entries(wanted)) {
    if (o.only && !o.only.includes(name)) continue;
    if (rows.some((r) => r.name === name)) continue;
    const row = await runCase(name, changes, o, settings);
    rows.push({ ...row, changes: withoutPaths(row.changes) });
    o.print?.(
      `${name.padEnd(44)} ${(100 * row.accuracy).toFixed(2)} % ± ${(100 * row.std).toFixed(2)}  loss ${row.loss.toFixed(3)}  ${row.seconds} s`,
    );
    if (o.out !== undefined) writeFileSync(o.out, `${JSON.stringify(report(), null, 1)}\n`);
  }
  return report();
}
