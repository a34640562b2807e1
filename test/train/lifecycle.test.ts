/**
 * The whole life of a run: everything at once and interrupted, freezing, averages, starting from its weights; and what is
 * refused before it begins.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Variable } from '../../src/core/tensor.ts';
import { readImage } from '../../src/data/readImage.ts';
import { loadEmbedder } from '../../src/evaluate/embedder.ts';
import { Parameter, variablesOf } from '../../src/nn/module.ts';
import { readCheckpoint, writeCheckpoint } from '../../src/train/checkpointFile.ts';
import { validationSets } from '../../src/train/data.ts';
import { pairRows } from '../../src/train/evaluation.ts';
import { type Recipe, type RecipeChanges, resolveRecipe } from '../../src/train/recipe.ts';
import { setUp } from '../../src/train/setup.ts';
import { startFrom } from '../../src/train/start.ts';
import { restore } from '../../src/train/state.ts';
import { parseCheckpoint } from '../../src/weights/checkpoint.ts';
import { readNpy } from '../../src/weights/npy.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';
import { curveOf } from '../helpers/curve.ts';
import { device, faces, folder, notesIn, progressOf, run, small, stepsIn, tensorsAt } from '../helpers/smallRuns.ts';

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
