/**
 * The whole life of a run: everything at once and interrupted, freezing, starting from weights, teachers, averages, rates
 * that follow results, mixed data, clipping and accumulation.
 *
 * The one idea: a run tells when it has saved, and the file then holds all its numbers; so what happened in each step is read
 * from the checkpoints of one run, and most tests look at the same one.
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { compile } from '../../src/compile.ts';
import type { Variable } from '../../src/core/tensor.ts';
import { readImage } from '../../src/data/readImage.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { encodePng } from '../../src/image/encode.ts';
import { preprocess } from '../../src/models/network.ts';
import { Parameter, variablesOf } from '../../src/nn/module.ts';
import { cast } from '../../src/ops/pointwise.ts';
import { resize } from '../../src/ops/resize.ts';
import { TraceContext } from '../../src/plan/trace.ts';
import { readCheckpoint, writeCheckpoint } from '../../src/train/checkpointFile.ts';
import { afterEvaluation, afterStep, endsEarly, rateOf } from '../../src/train/course.ts';
import { trainingData, validationSets } from '../../src/train/data.ts';
import { pairRows } from '../../src/train/evaluation.ts';
import type { TrainEvent } from '../../src/train/events.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';
import { setUp } from '../../src/train/setup.ts';
import { startFrom } from '../../src/train/start.ts';
import { type Progress, restore } from '../../src/train/state.ts';
import { lossAndGradients, stepKeys } from '../../src/train/step.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';
import { curveOf } from '../helpers/curve.ts';
import { tinyNetwork, weightsOf } from '../helpers/tinyNetwork.ts';

let device: Device;
let folder: string;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2 });
  folder = mkdtempSync(join(tmpdir(), 'facegrad-lifecycle-'));
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** A folder of drawn people, each with `count` pictures named as LFW names them. */
function faces(name: string, people: readonly string[], count: number): string {
  const root = join(folder, name);
  for (const person of people) {
    mkdirSync(join(root, person), { recursive: true });
    for (let i = 1; i <= count; i++) {
      const data = syntheticFace(1, person.charCodeAt(0), i, 32);
      const file = join(root, person, `${person}_${String(i).padStart(4, '0')}.png`);
      writeFileSync(file, encodePng({ width: 32, height: 32, data }));
    }
  }
  return root;
}

const small: RecipeChanges = {
  model: { width: 0.125, inputSize: [32, 32], embeddingSize: 16 },
  batch: 8,
  identities: 5,
  imagesPerIdentity: 7,
  evalIdentities: 0,
  warmupSteps: 0,
  samples: false,
  tensorBoard: false,
  logEverySteps: 1,
};

/** Runs and keeps the checkpoint of every save, under its step. */
async function run(
  recipe: Recipe,
  name: string,
  { stopAt, resume = false }: { stopAt?: number; resume?: boolean } = {},
) {
  const out = join(folder, name);
  const stop = new AbortController();
  const events: TrainEvent[] = [];
  const result = await train(recipe, {
    device,
    out,
    workers: 0,
    signal: stop.signal,
    ...(resume && { resumeFrom: join(out, 'last.safetensors') }),
    onEvent(e) {
      events.push(e);
      if (e.type === 'step' && e.step === stopAt) stop.abort();
      if (e.type === 'saved' && e.path.endsWith('last.safetensors')) {
        mkdirSync(join(out, 'all'), { recursive: true });
        copyFileSync(e.path, join(out, 'all', String(e.step)));
      }
    },
  });
  return { ...result, out, events };
}

const everything = (): Recipe => {
  const root = faces('faces', ['ann', 'bob', 'eve', 'joe'], 4);
  const pairs = (name: string, lines: readonly string[]) => {
    const path = join(folder, name);
    writeFileSync(path, ['2\t2', ...lines, ''].join('\n'));
    return { pairs: path, images: root };
  };
  return resolveRecipe('mobilefacenet-arcface', {
    ...small,
    model: { name: 'ir-18', width: 0.125, inputSize: [32, 32], embeddingSize: 16, dropout: 0.3 },
    head: { s: 16, m: 0.2 },
    terms: { center: 0.01 },
    optimizer: 'adam',
    lr: 0.01,
    schedule: { name: 'plateau', metric: 'loss', patience: 0, factor: 0.5, threshold: 10, thresholdMode: 'abs' },
    warmupSteps: 2,
    ema: { decay: 0.8, warmUp: true },
    clip: { norm: 2 },
    accumulate: 2,
    sampler: { people: 4, images: 2 },
    augment: 'rotate=10',
    freeze: ['@backbone'],
    freezeEpochs: 1,
    maxSteps: 30,
    saveEverySteps: 1,
    evalEverySteps: 3,
    evalFlip: 'none',
    keepLast: 3,
    earlyStop: { patience: 2, metric: 'loss', minDelta: 100 },
    validation: {
      one: pairs('one.txt', [
        'ann\t1\t2',
        'bob\t1\t2',
        'ann\t1\tbob\t1',
        'eve\t1\tjoe\t2',
        'eve\t1\t2',
        'joe\t1\t2',
        'ann\t3\teve\t3',
        'bob\t1\tjoe\t3',
      ]),
      two: pairs('two.txt', [
        'ann\t3\t4',
        'eve\t3\t4',
        'ann\t2\teve\t4',
        'joe\t1\tann\t1',
        'bob\t3\t4',
        'joe\t3\t4',
        'bob\t3\tann\t4',
        'bob\t1\teve\t2',
      ]),
    },
  });
};

/** The tensors of a checkpoint by name. */
const tensorsAt = async (out: string, step: number | string) =>
  (await readCheckpoint(step === 'last' ? join(out, 'last.safetensors') : join(out, 'all', String(step)))).tensors;
const progressOf = async (path: string) => JSON.parse((await readCheckpoint(path)).metadata.progress!) as Progress;
const stepsIn = (events: readonly TrainEvent[]) => events.filter((e) => e.type === 'step');
const notesIn = (events: readonly TrainEvent[]) => events.filter((e) => e.type === 'note').map((e) => e.text);

describe('everything at once', () => {
  const lrs = [0.005, 0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025, 0.0025];
  const steps = lrs.length;
  let recipe: Recipe;
  let whole: Awaited<ReturnType<typeof run>>;
  /** Backbone variables by whether they are parameters. */
  let own: readonly Variable[];
  beforeAll(async () => {
    recipe = everything();
    whole = await run(recipe, 'whole');
    own = variablesOf((await setUp(recipe, { workers: 0 })).t.network);
  });

  test('interrupted before, at and after the thaw and between evaluations, it leaves the same bytes', async () => {
    const reached: number[] = [];
    for (const stopAt of [1, 3, 4, 5, 7])
      reached.push((await run(recipe, 'broken', { stopAt, resume: stopAt > 1 })).steps);
    expect(reached[0]).toBeLessThan(4);
    expect(reached).toContain(4);
    expect(reached.some((n) => n > 4 && n % 3 > 0)).toBe(true);
    const { out, finished } = await run(recipe, 'broken', { resume: true });
    expect(finished).toBe(true);
    const kept = readdirSync(whole.out).filter((name) => name.startsWith('step-'));
    expect(kept).toEqual([10, 11, 12].map((n) => `step-00000${n}.safetensors`));
    expect(readdirSync(out).sort()).toEqual(readdirSync(whole.out).sort());
    for (const name of ['last.safetensors', 'best.safetensors', 'embedding.npy', 'recipe.json', ...kept])
      expect(readFileSync(join(out, name)).equals(readFileSync(join(whole.out, name))), name).toBe(true);
    expect(curveOf(join(out, 'curve.csv'))).toEqual(curveOf(join(whole.out, 'curve.csv')));
  });

  test('what is frozen keeps every bit, its slots, statistics and averages too; all of it moves once thawed', async () => {
    const initial = new Map(own.map((v) => [v.name, v.host]));
    const [first, before, after] = await Promise.all([1, 4, 5].map((n) => tensorsAt(whole.out, n)));
    for (const [name, data] of initial) {
      expect(before!.get(name)!.data, name).toEqual(data);
      expect(before!.get(`${name}.average`)!.data, name).toEqual(data);
      for (const slot of ['firstMoment', 'secondMoment'])
        expect(before!.get(`${name}.${slot}`)?.data.every((x) => x === 0) ?? true, name).toBe(true);
      expect(after!.get(name)!.data, name).not.toEqual(data);
    }
    for (const name of ['arcface.weight', 'arcface.weight.firstMoment', 'center.centers'])
      expect(before!.get(name)!.data, name).not.toEqual(first!.get(name)!.data);
    // Each parameter counts its own updates, so the thawed ones begin with the bias correction of a first step.
    expect(new Set(after!.get('adam.steps')!.data)).toEqual(new Set([1, 5]));
    expect(notesIn(whole.events)).toContain('step 5: all parameters are trained from here on');
    expect(whole.events.find((e) => e.type === 'start')!.frozen).toBe(
      own.filter((v) => v instanceof Parameter).reduce((n, p) => n + p.size, 0),
    );
  });

  test('the rate is that of the schedule, halved after each result that is not better', () => {
    expect(stepsIn(whole.events).map((e) => e.lr)).toEqual(lrs);
  });

  test('it ends early, says so, and is done; resumed, too', async () => {
    expect(whole).toMatchObject({ finished: true, steps });
    expect(notesIn(whole.events)).toContain(`step ${steps}: no better loss for 3 evaluations, so the run ends`);
    expect(existsSync(join(whole.out, 'report.html'))).toBe(true);
    const again = await run(recipe, 'whole', { resume: true });
    expect(again).toMatchObject({ finished: true, steps });
    expect(notesIn(again.events)).toContain('the run has ended early: a larger --earlyStop.patience goes on with it');
  });

  test('each validation set has a column, and the best is that of the mean', async () => {
    const [header, ...rows] = curveOf(join(whole.out, 'curve.csv'));
    const columns = ['accuracy/one', 'accuracy/two'].map((name) => header!.indexOf(name));
    expect(Math.min(...columns)).toBeGreaterThan(0);
    const means = rows
      .filter((row) => row[columns[0]!])
      .map((row) => ({ step: Number(row[0]), accuracy: columns.reduce((sum, c) => sum + Number(row[c]), 0) / 2 }));
    expect(means.map((m) => m.step)).toEqual([3, 6, 9, 12]);
    const best = means.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
    const progress = await progressOf(join(whole.out, 'best.safetensors'));
    expect(progress.best).toEqual(best);
    expect(progress.step).toBe(best.step);
  });

  test('averages are what their formula gives, and what evaluation and loadEmbedder use', async () => {
    const at = await Promise.all(Array.from({ length: steps }, (_, i) => tensorsAt(whole.out, i + 1)));
    for (const v of own) {
      const exact = Float64Array.from(v.host);
      const plain = Float32Array.from(v.host);
      at.forEach((tensors, n) => {
        const d = Math.min(0.8, (1 + n) / (10 + n));
        const value = tensors.get(v.name)!.data;
        for (let i = 0; i < exact.length; i++) {
          exact[i]! -= (1 - d) * (exact[i]! - value[i]!);
          plain[i]! -= Math.fround(Math.fround(1 - d) * Math.fround(plain[i]! - value[i]!));
        }
      });
      const scale = exact.reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      const gap = exact.reduce((m, x, i) => Math.max(m, Math.abs(x - plain[i]!)), 0);
      const got = at[steps - 1]!.get(`${v.name}.average`)!.data;
      const worst = exact.reduce((m, x, i) => Math.max(m, Math.abs(x - got[i]!)), 0);
      expect(worst, v.name).toBeLessThanOrEqual(4 * gap + 2 ** -23 * scale);
    }

    const path = join(whole.out, 'last.safetensors');
    const bytes = readFileSync(path);
    const { tensors, metadata } = parseCheckpoint(bytes, path);
    const { sources } = pairRows((await validationSets(recipe))[0]!.pairs);
    const pictures = await Promise.all(sources.map((s) => readImage(s, [32, 32])));
    const images = pictures.map((data) => ({ width: 32, height: 32, data }));
    const embeddings = async (file: Uint8Array) => {
      const embedder = await loadEmbedder(file, { device });
      const out = await embedder.embed(images);
      await embedder.dispose();
      return out;
    };
    const used = await embeddings(bytes);
    expect(used).toEqual(readNpy(readFileSync(join(whole.out, 'embedding.npy'))).data);
    const { averaged: _, ...rest } = metadata;
    const named = (suffix: string) =>
      writeSafetensors(
        own.map((v) => [v.name, tensors.get(v.name + suffix)!] as const),
        { ...rest, format: 'facegrad', version: '1' },
      );
    expect(await embeddings(named('.average'))).toEqual(used);
    expect(await embeddings(named(''))).not.toEqual(used);
  });

  describe('a run from its weights', () => {
    const from = async (changes: RecipeChanges) => {
      const next = resolveRecipe('mobilefacenet-arcface', {
        ...small,
        model: { name: 'ir-18', width: 0.125, inputSize: [32, 32], embeddingSize: 16 },
        from: join(whole.out, 'last.safetensors'),
        seed: 9,
        ...changes,
      });
      const { t } = await setUp(next, { workers: 0 });
      const fresh = new Map(t.variables.map((v) => [v.name, v.host.slice()]));
      const notes: string[] = [];
      await startFrom(t, next, (text) => notes.push(text));
      return {
        t,
        fresh,
        note: notes.join('\n'),
        weight: t.variables.find((v) => v.name === `${next.head.name}.weight`)!,
      };
    };

    test('begins with its averages, and its head where people and loss are the same', async () => {
      const saved = await tensorsAt(whole.out, 'last');
      const { t, note, weight } = await from({});
      for (const v of variablesOf(t.network)) expect(v.host, v.name).toEqual(saved.get(`${v.name}.average`)!.data);
      expect(weight.host).toEqual(saved.get('arcface.weight')!.data);
      expect(note).toBe(
        `${own.length} of ${own.length} tensors of the network from ${join(whole.out, 'last.safetensors')}; the head, too`,
      );
    });
    test('prepares pictures as for those weights, but for what it says itself; so does a run that goes on', async () => {
      const { tensors, metadata } = await readCheckpoint(join(whole.out, 'last.safetensors'));
      const { format: _format, version: _version, ...rest } = metadata;
      const bgr = { colourOrder: 'BGR', mean: 120, scale: 1 / 127.5 } as const;
      const path = join(folder, 'bgr.safetensors');
      const stored = { ...bgr, inputSize: [112, 112] };
      await writeCheckpoint(path, { tensors, metadata: { ...rest, preprocessing: JSON.stringify(stored) } });
      const preprocessingOf = async (changes: RecipeChanges) =>
        (await from({ from: path, ...changes })).t.network.preprocessing;
      expect(await preprocessingOf({})).toEqual({ ...bgr, inputSize: [32, 32] });
      expect(await preprocessingOf({ preprocessing: { mean: 127.5 } })).toEqual({
        ...bgr,
        mean: 127.5,
        inputSize: [32, 32],
      });
      const resumed = await setUp(everything(), { workers: 0 });
      restore(await readCheckpoint(path), resumed.t, everything(), path);
      expect(resumed.t.network.preprocessing).toEqual({ ...bgr, inputSize: [32, 32] });
    });
    test.each([
      ['other people', { identities: 6 }, 'a new head (arcface, 6 people)'],
      ['another loss', { head: 'cosface' }, 'a new head (cosface, 5 people)'],
      ['a wish', { fromHead: 'never' }, 'a new head (arcface, 5 people)'],
    ])('with a new head for %s', async (_, changes, says) => {
      const { note, weight, fresh } = await from(changes);
      expect(note).toContain(says);
      expect(weight.host).toEqual(fresh.get(weight.name));
    });
    test('not of another network; with another embedding size only where told to, listing what is new', async () => {
      await expect(from({ model: { name: 'mobilefacenet', width: 0.125, inputSize: [32, 32] } })).rejects.toThrow(
        /expected a checkpoint of mobilefacenet, came ir/,
      );
      const model = { name: 'ir-18', width: 0.125, inputSize: [32, 32], embeddingSize: 24 };
      await expect(from({ model })).rejects.toThrow(/output\.fc\.weight: expected f32\[\d+, 24\], got f32\[\d+, 16\]/);
      await expect(from({ model })).rejects.toThrow(/--fromMissing fresh/);
      const { note, t, fresh } = await from({ model, fromMissing: 'fresh' });
      const saved = await tensorsAt(whole.out, 'last');
      const isNew = (v: Variable) => /^output\.(fc|embedding)\./.test(v.name);
      for (const v of variablesOf(t.network)) {
        expect(v.host, v.name).toEqual(isNew(v) ? fresh.get(v.name) : saved.get(`${v.name}.average`)!.data);
        expect(note.includes(`${v.name} [`), v.name).toBe(isNew(v));
      }
    });
  });
});

describe('what cannot be trained is refused before anything is written', () => {
  test.each([
    [
      'a pattern that fits nothing',
      { freeze: ['blocks.99.*'] },
      /^freeze: expected a pattern that fits a parameter, got 'blocks\.99\.\*'\n.*The nearest is '/,
    ],
    [
      'everything frozen',
      { freeze: ['@backbone', '@head'] },
      /^freeze: expected parameters that are left to train, but @backbone, @head fits all \d+\n/,
    ],
    [
      'a factor for nothing',
      { rateRules: { 'stem.cov.*': 2 } },
      /^rateRules: expected a pattern that fits a parameter, got 'stem\.cov\.\*'/,
    ],
    [
      'more people than there are',
      { batch: 12, sampler: { people: 6, images: 2 } },
      /^sampler: expected at most the 5 people/,
    ],
    [
      'no teacher',
      { distillation: { teacher: '/nowhere/teacher.safetensors' } },
      /^reading checkpoint \/nowhere\/teacher\.safetensors: ENOENT/,
    ],
  ] as [string, RecipeChanges, RegExp][])('%s', async (_, changes, message) => {
    await expect(run(resolveRecipe('mobilefacenet-arcface', { ...small, ...changes }), 'refused')).rejects.toThrow(
      message,
    );
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });
});

describe('a teacher', () => {
  const pixels = async (recipe: Recipe) => {
    const data = await trainingData(recipe);
    return Promise.all(
      Array.from({ length: data.length }, async (_, i) => ({
        width: 32,
        height: 32,
        data: await readImage(data.source(i), [32, 32]),
      })),
    );
  };
  const cosine = (a: Float32Array, b: Float32Array, dim: number): number => {
    let total = 0;
    for (let r = 0; r < a.length; r += dim) {
      let [ab, aa, bb] = [0, 0, 0];
      for (let i = r; i < r + dim; i++) {
        ab += a[i]! * b[i]!;
        aa += a[i]! * a[i]!;
        bb += b[i]! * b[i]!;
      }
      total += ab / Math.sqrt(aa * bb);
    }
    return (total * dim) / a.length;
  };
  const embed = async (file: string, images: Awaited<ReturnType<typeof pixels>>) => {
    const embedder = await loadEmbedder(readFileSync(file), { device });
    const out = await embedder.embed(images);
    await embedder.dispose();
    return out;
  };

  test('draws the embeddings to its own, beside a head and alone', async () => {
    const teacher = join(folder, 'teacher.safetensors');
    writeFileSync(teacher, await weightsOf(tinyNetwork()));
    const recipeOf = (changes: RecipeChanges) =>
      resolveRecipe('mobilefacenet-arcface', { ...small, head: { s: 16, m: 0.2 }, lr: 0.02, maxSteps: 40, ...changes });
    const images = await pixels(recipeOf({}));
    const wanted = await embed(teacher, images);
    const nearness = async (name: string, changes: RecipeChanges) => {
      const { out, events } = await run(recipeOf(changes), name);
      return { near: cosine(await embed(join(out, 'last.safetensors'), images), wanted, 16), events, out };
    };
    const without = await nearness('without', {});
    const beside = await nearness('beside', { distillation: { teacher, weight: 10 } });
    const alone = await nearness('alone', { headWeight: 0, distillation: { teacher } });
    expect(beside.near).toBeGreaterThan(without.near + 0.2);
    expect(alone.near).toBeGreaterThan(without.near + 0.2);
    const terms = stepsIn(alone.events);
    for (const e of terms) expect(e.loss).toBe(e.terms.distillation);
    expect(terms.at(-1)!.loss).toBeLessThan(0.75 * terms[0]!.loss);
    // Same sizes need no projection, and the teacher is no part of what is saved.
    expect([...(await tensorsAt(alone.out, 'last')).keys()].sort()).toEqual(
      [...(await tensorsAt(without.out, 'last')).keys()].sort(),
    );
  });

  test('may have another input size, colour order and embedding size: the loss is that of its own way to see', async () => {
    const net = tinyNetwork({ width: 0.125, embeddingSize: 24, inputSize: [48, 48] }, 8);
    net.preprocessing = { ...net.preprocessing, colourOrder: 'BGR', mean: 100, scale: 1 / 64 };
    const teacher = join(folder, 'other.safetensors');
    writeFileSync(teacher, await weightsOf(net));
    // A frozen backbone uses its running statistics: its embeddings are those that it has when used.
    const recipe = resolveRecipe('mobilefacenet-arcface', {
      ...small,
      freeze: ['@backbone'],
      distillation: { teacher, weight: 3 },
      maxSteps: 1,
    });
    const { t, loader: makeLoader } = await setUp(recipe, { workers: 0 });
    const loader = makeLoader();
    const { images } = await loader.next();
    await loader.close();
    const f = compile(
      ({ x }, ctx) => ({
        student: t.network.call(preprocess(x!, t.network.preprocessing), ctx),
        teacher: net.call(preprocess(resize(cast(x!, 'f32'), [48, 48]), net.preprocessing), ctx),
        size: resize(cast(x!, 'f32'), [48, 48]),
      }),
      { device },
    );
    const out = await f({ x: { data: images, shape: [8, 32, 32, 3], dtype: 'u8' } });
    f.dispose();
    const [student, known] = [out.student!.data, out.teacher!.data] as Float32Array[];
    const projection = t.variables.find((v) => v.name === 'distillation.projection.weight')!.host;
    const lossBy = (round: (x: number) => number): number => {
      let total = 0;
      for (let b = 0; b < 8; b++) {
        const a = Array.from({ length: 24 }, (_, k) => {
          let sum = 0;
          for (let i = 0; i < 16; i++) sum = round(sum + round(student![b * 16 + i]! * projection[i * 24 + k]!));
          return sum;
        });
        let [ab, aa, bb] = [0, 0, 0];
        a.forEach((x, k) => {
          const y = known![b * 24 + k]!;
          ab = round(ab + round(x * y));
          aa = round(aa + round(x * x));
          bb = round(bb + round(y * y));
        });
        total = round(total + round(1 - round(ab / round(Math.sqrt(round(aa * bb))))));
      }
      return round(3 * round(total / 8));
    };
    const { events } = await run(recipe, 'other-teacher');
    const got = stepsIn(events)[0]!.terms.distillation!;
    const exact = lossBy((x) => x);
    expect(Math.abs(got - exact)).toBeLessThanOrEqual(4 * Math.abs(lossBy(Math.fround) - exact) + 2 ** -22 * 3 * 2);
  });
});

describe('results change the course', () => {
  const recipeOf = (changes: RecipeChanges) =>
    resolveRecipe('mobilefacenet-arcface', { ...small, evalIdentities: 4, evalEverySteps: 5, ...changes });
  const length = { lr: 0.1, batch: 8, steps: 100, stepsPerEpoch: 4 };
  /** Rates and the number of evaluations after which the run ends. */
  const course = (recipe: Recipe, accuracies: readonly number[], losses: readonly number[]) => {
    let p: Progress = { step: 0, classes: 5, images: 35 };
    const rates: number[] = [];
    for (const [i, accuracy] of accuracies.entries()) {
      for (let n = 0; n < 5; n++)
        p = afterStep(p, { loss: losses[i]!, gradNorm: 1, hitRate: 0, terms: {}, applied: true });
      p = afterEvaluation(p, recipe, length, accuracy);
      rates.push(rateOf(recipe, length)(p.step, p));
      if (endsEarly(p, recipe)) return { rates, ended: i + 1, best: p.best };
    }
    return { rates, ended: undefined, best: p.best };
  };
  const rising = [0.5, 0.6, 0.7, 0.8, 0.9];
  const falling = [9, 7, 5, 3, 1];
  const flat = [2, 2, 2, 2, 2];
  const plateau = { name: 'plateau', patience: 0, factor: 0.5 };

  test('plateau looks at the loss or at the accuracy, and each its own way', () => {
    const stays = [0.1, 0.1, 0.1, 0.1, 0.1];
    const drops = [0.1, 0.05, 0.025, 0.0125, 0.00625];
    const loss = recipeOf({ schedule: { ...plateau, metric: 'loss' }, warmupSteps: 0 });
    const accuracy = recipeOf({ schedule: { ...plateau, metric: 'accuracy' }, warmupSteps: 0 });
    expect(course(loss, flat, falling).rates).toEqual(stays);
    expect(course(loss, rising, flat).rates).toEqual(drops);
    expect(course(accuracy, rising, flat).rates).toEqual(stays);
    expect(course(accuracy, flat, falling).rates).toEqual(drops);
  });

  test('early stopping bears as many results as it says', () => {
    const stop = (metric: string, patience: number, minDelta = 0) =>
      recipeOf({ earlyStop: { metric, patience, minDelta } });
    expect(course(stop('accuracy', 2), rising, flat).ended).toBeUndefined();
    expect(course(stop('accuracy', 2), flat, falling).ended).toBe(4);
    expect(course(stop('loss', 1), rising, flat).ended).toBe(3);
    expect(course(stop('loss', 1), flat, falling).ended).toBeUndefined();
    expect(course(stop('loss', 1, 5), flat, falling).ended).toBe(3);
    expect(course(stop('accuracy', 1), [0.5, 0.4, 0.6, 0.5, 0.5], flat)).toMatchObject({
      ended: 5,
      best: { step: 15, accuracy: 0.6 },
    });
  });

  test('both by accuracy in a run: it ends when told to', async () => {
    // A rate that moves nothing: the accuracy stays.
    const recipe = recipeOf({
      lr: 1e-12,
      schedule: { name: 'plateau', metric: 'accuracy', patience: 0, factor: 0.5, eps: 0 },
      earlyStop: { patience: 1, metric: 'accuracy', minDelta: 0.9 },
      evalEverySteps: 1,
      maxSteps: 20,
      histograms: true,
      tensorBoard: true,
      samples: true,
    });
    const { events, steps, finished } = await run(recipe, 'stalled');
    expect({ steps, finished }).toEqual({ steps: 3, finished: true });
    expect(stepsIn(events).map((e) => e.lr)).toEqual([1e-12, 1e-12, 5e-13]);
    expect(notesIn(events)).toContain('step 3: no better accuracy for 2 evaluations, so the run ends');
  });

  test.each([
    [
      'schedule plateau',
      { schedule: plateau, evalEverySteps: 0 },
      /schedule plateau goes by results during the run, but 'evalEverySteps' is 0\n/,
    ],
    ['early stopping', { earlyStop: { patience: 1 }, evalEverySteps: 0 }, /earlyStop goes by results/],
    [
      'an accuracy without sets',
      { earlyStop: { patience: 1 }, evalIdentities: 0 },
      /earlyStop goes by the accuracy, but the run has no validation set\n.*--earlyStop\.metric loss/,
    ],
  ] as [string, RecipeChanges, RegExp][])('%s that can never act is refused', (_, changes, message) => {
    expect(() => recipeOf(changes)).toThrow(message);
  });
});

describe('data', () => {
  test('sets are joined, people of equal names into one or not', async () => {
    const data = [faces('mixA', ['ann', 'bob', 'eve'], 3), faces('mixB', ['bob', 'zoe'], 3)];
    const of = async (changes: RecipeChanges) => {
      const recipe = resolveRecipe('mobilefacenet-arcface', { ...small, batch: 4, data, ...changes });
      return (await setUp(recipe, { workers: 0 })).data;
    };
    const apart = await of({});
    const merged = await of({ mergeIdentities: true });
    expect([apart.length, apart.classes]).toEqual([15, 5]);
    expect([merged.length, merged.classes]).toEqual([15, 4]);
    const count = (set: typeof merged, name: RegExp) =>
      Array.from({ length: set.length }, (_, i) => set.identityName(set.label(i))).filter((n) => name.test(n)).length;
    expect(count(merged, /^bob$/)).toBe(6);
    expect(count(apart, /bob/)).toBe(6);
  });

  test('batches hold as many people and pictures of each as they say, and parts of them whole people', async () => {
    const recipe = resolveRecipe('mobilefacenet-arcface', {
      ...small,
      sampler: { people: 4, images: 2 },
      accumulate: 2,
    });
    const { loader: makeLoader, stepsPerEpoch } = await setUp(recipe, { workers: 0 });
    const loader = makeLoader();
    for (let step = 0; step < 2 * stepsPerEpoch; step++) {
      const { labels } = await loader.next();
      expect(new Set(labels).size).toBe(4);
      for (let i = 0; i < 8; i += 2) expect(labels[i]).toBe(labels[i + 1]);
    }
    await loader.close();
    expect(() => resolveRecipe('demo', { batch: 8, sampler: { people: 4, images: 2 }, accumulate: 4 })).toThrow(
      /at least 2 of its 4 people whole, got accumulate 4\n/,
    );
  });
});

test('clipping by norm and by value: the update is as if the gradient were so', async () => {
  const recipeOf = (clip: RecipeChanges) =>
    resolveRecipe('mobilefacenet-arcface', { ...small, weightDecay: 0, maxSteps: 1, clip });
  // After its first step the velocity is the gradient that the optimizer got.
  const velocities = async (name: string, clip: RecipeChanges) => {
    const { out, events } = await run(recipeOf(clip), name);
    const tensors = [...(await tensorsAt(out, 'last'))].filter(([n]) => n.endsWith('.velocity'));
    expect(tensors.length).toBeGreaterThan(50);
    return { all: tensors.flatMap(([, t]) => [...(t.data as Float32Array)]), norm: stepsIn(events)[0]!.gradNorm };
  };
  const plain = await velocities('unclipped', {});
  const byNorm = await velocities('by-norm', { norm: 0.5 });
  expect(byNorm.norm).toBe(plain.norm); // it tells the length before
  expect(plain.norm).toBeGreaterThan(1);
  const scale = 0.5 / (plain.norm + 1e-6);
  // Three roundings of the scale and one of each product.
  for (const [i, g] of byNorm.all.entries())
    expect(Math.abs(g - plain.all[i]! * scale)).toBeLessThanOrEqual(
      2 ** -22 * Math.abs(plain.all[i]! * scale) + 2 ** -149,
    );
  const byValue = await velocities('by-value', { value: 2 ** -6 });
  expect(byValue.all).toEqual(plain.all.map((g) => Math.max(-(2 ** -6), Math.min(2 ** -6, g))));
});

test('accumulated parts draw their own dropout', async () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', {
    ...small,
    model: { name: 'ir-18', width: 0.125, inputSize: [32, 32], embeddingSize: 16, dropout: 0.5 },
    accumulate: 2,
  });
  const { t, loader: makeLoader } = await setUp(recipe, { workers: 0 });
  const loader = makeLoader();
  const { images, labels } = await loader.next();
  await loader.close();
  const keys = stepKeys(recipe, 3);
  expect(keys.slice(0, 2)).not.toEqual(keys.slice(2));
  expect(stepKeys(recipe, 4)).not.toEqual(keys);
  const lossOf = (parts: number) => {
    const f = compile(
      ({ images: x, labels: y, keys: k }) => ({
        loss: lossAndGradients(t, { ...recipe, accumulate: parts }, x!, y!, new TraceContext(true), { keys: k! }).loss,
      }),
      { device, training: true },
    );
    return async (x: Uint8Array, y: Int32Array, k: Int32Array) => {
      const n = y.length;
      const out = await f({
        images: { data: x, shape: [n, 32, 32, 3], dtype: 'u8' },
        labels: { data: y, shape: [n], dtype: 'i32' },
        keys: { data: k, shape: [parts, 2], dtype: 'i32' },
      });
      return out.loss!.data[0]!;
    };
  };
  // The same four pictures twice: without dropout the two parts would be equal.
  const half = [images.slice(0, images.length / 2), labels.slice(0, 4)] as const;
  const twice = [Uint8Array.from([...half[0], ...half[0]]), Int32Array.from([...half[1], ...half[1]])] as const;
  const one = lossOf(1);
  const [a, b] = [await one(...half, keys.slice(0, 2)), await one(...half, keys.slice(2))];
  expect(a).not.toBe(b);
  expect(await lossOf(2)(...twice, keys)).toBe(Math.fround(Math.fround(a + b) / 2));
});

test('accumulated parts count as one update', async () => {
  const recipe = resolveRecipe('mobilefacenet-arcface', { ...small, head: 'sphereface', accumulate: 4, maxSteps: 3 });
  const { out } = await run(recipe, 'counted');
  expect([...(await tensorsAt(out, 'last')).get('sphereface.iteration')!.data]).toEqual([3]);
});
