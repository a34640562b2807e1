/** `facegrad train` as a process: output, exit codes, Ctrl-C, and what it says to bad input. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import { recipeChanges } from '../../src/cli/recipeWords.ts';
import { UsageError } from '../../src/core/errors.ts';
import { encodePng } from '../../src/image/encode.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { readSafetensors, writeSafetensors } from '../../src/weights/safetensors.ts';
import { cli, facegrad } from '../helpers/killedRuns.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'facegrad-train-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const small =
  'train --width 0.125 --inputSize 32x32 --embeddingSize 16 --batch 4 --identities 3 --imagesPerIdentity 4 --maxSteps 6 --logEverySteps 2 --saveEverySteps 2 --evalIdentities 4 --lr 0.02 --warmupSteps 2 --threads 1'.split(
    ' ',
  );

describe('words to changes of the recipe', () => {
  test('values, flags, dashes and equal signs', () => {
    const read = (...words: string[]) => resolveRecipe('demo', recipeChanges(words));
    expect(read('--lr', '0.2', '--skip-bad', '--maxSteps=7', '--no-flip', '--milestones', '0.5,0.7')).toMatchObject({
      lr: 0.2,
      skipBad: true,
      maxSteps: 7,
      flip: false,
      schedule: { milestones: [0.5, 0.7] },
    });
    expect(read('--flip', '--recompute', 'true')).toMatchObject({ flip: true, recompute: true });
    expect(read('--head', 'cosface', '--head.s=20', '--model.input-size', '48x32', '--no-nesterov')).toMatchObject({
      head: { name: 'cosface', s: 20 },
      model: { inputSize: [48, 32] },
      optimizer: { nesterov: false },
    });
  });
  test.each([
    [['lr', '3'], /expected --key value, got 'lr'/],
    [['--lr'], /--lr: 'lr' expected a number above 0, got ""/],
    [['--lr', '--flip'], /'lr' expected a number above 0/],
    [['--bacth', '4'], /--bacth: expected a key of the recipe, got 'bacth'\nDid you mean 'batch'/],
  ])('%j is refused', (words, message) => {
    expect(() => recipeChanges(words)).toThrow(message);
    expect(() => recipeChanges(words)).toThrow(UsageError);
  });
});

test('a run prints its recipe, JSON lines, and leaves a whole folder; resuming a finished one changes nothing', async () => {
  const out = join(folder, 'json');
  const end = await facegrad([...small, '--out', out, '--json']);
  expect(end.stderr).toBe('');
  expect(end.code).toBe(0);
  const lines = end.stdout
    .trim()
    .split('\n')
    .map((l) => JSON.parse(l));
  expect(lines[0]).toMatchObject({ type: 'start', steps: 6, recipe: { recipe: 'mobilefacenet-arcface', batch: 4 } });
  const steps = lines.filter((l) => l.type === 'step');
  expect(steps.map((s) => s.step)).toEqual([2, 4, 6]);
  for (const s of steps)
    for (const key of [
      'loss',
      'hitRate',
      'marginHitRate',
      'lr',
      'gradNorm',
      'imagesPerSecond',
      'waitShare',
      'etaSeconds',
      'epoch',
    ])
      expect(Number.isFinite(s[key]), key).toBe(true);
  expect(lines.at(-1)).toMatchObject({ type: 'end', finished: true, steps: 6 });
  for (const name of [
    'last.safetensors',
    'best.safetensors',
    'recipe.json',
    'curve.csv',
    'parameters.csv',
    'report.html',
    'embedding.npy',
  ])
    expect(existsSync(join(out, name)), name).toBe(true);
  const csv = readFileSync(join(out, 'curve.csv'), 'utf8').trim().split('\n');
  expect(csv[0]).toBe(
    'step,epoch,loss,accuracy,marginAccuracy,lr,gradNorm,imagesPerSecond,waitShare,seconds,accuracy/synthetic',
  );
  expect(csv.length).toBe(4);
  const cells = csv[3]!.split(',').map(Number);
  expect(cells).toHaveLength(11);
  expect(cells.every((x) => Number.isFinite(x))).toBe(true);
  expect(cells[0]).toBe(6);
  expect(readdirSync(join(out, 'samples')).sort()).toEqual(
    expect.arrayContaining(['batch-0000000.jpg', 'synthetic-nearest-0000006.jpg']),
  );
  expect(readdirSync(join(out, 'events'))).toHaveLength(1);

  const { metadata } = readSafetensors(readFileSync(join(out, 'last.safetensors')));
  expect(metadata).toMatchObject({ format: 'facegrad', version: '1', architecture: 'mobilefacenet', seed: '1' });
  expect(JSON.parse(metadata.progress!)).toMatchObject({ step: 6, classes: 3, images: 12 });
  expect(JSON.parse(metadata.recipe!)).toEqual(JSON.parse(readFileSync(join(out, 'recipe.json'), 'utf8')));

  const bytes = readFileSync(join(out, 'last.safetensors'));
  const again = await facegrad([...small, '--out', out]);
  expect(again.code).toBe(2);
  expect(again.stderr).toMatch(/^facegrad: --out .*: expected a new folder, but it holds a run already[\s\S]*--resume/);
  const resumed = await facegrad(['train', '--out', out, '--resume']);
  expect(resumed.code).toBe(0);
  expect(readFileSync(join(out, 'last.safetensors')).equals(bytes)).toBe(true);
  const other = await facegrad(['train', '--out', out, '--resume', '--width', '0.5']);
  expect(other.code).toBe(2);
  expect(other.stderr).toMatch(/^facegrad: --resume: expected 'width' 0\.125 as in .*last\.safetensors, got 0\.5\n/);
});

test('plain output names what is trained, and Ctrl-C saves and says so', async () => {
  const out = join(folder, 'stopped');
  const args = [...small, '--maxSteps', '4000', '--saveEverySteps', '0', '--out', out];
  let sent = false;
  const end = await facegrad(args, (line, kill) => {
    if (!sent && line.startsWith('step ')) {
      sent = true;
      kill('SIGINT');
    }
  });
  expect(end.stderr).toBe('');
  expect(end.code).toBe(130);
  expect(end.stdout).toMatch(/^Recipe\n {2}recipe {15}mobilefacenet-arcface\n/);
  const stopped =
    /Stopped after step (\d+); saved (.*last\.safetensors)\. Go on with: facegrad train --out .* --resume/.exec(
      end.stdout,
    )!;
  const { metadata } = readSafetensors(readFileSync(stopped[2]!));
  expect(JSON.parse(metadata.progress!).step).toBe(Number(stopped[1]));
  const resumed = await facegrad(['train', '--out', out, '--resume', '--maxSteps', String(Number(stopped[1]) + 2)]);
  expect(resumed.code).toBe(0);
  expect(resumed.stdout).toContain(`Going on after step ${stopped[1]} of`);
});

test('a diverging run stops with code 3, names a module and keeps the last good checkpoint', async () => {
  const out = join(folder, 'diverged');
  const args = [
    ...small,
    '--maxSteps',
    '50',
    '--saveEverySteps',
    '1',
    '--warmupSteps',
    '0',
    '--lr',
    '1e25',
    '--out',
    out,
  ];
  const end = await facegrad(args);
  expect(end.code).toBe(3);
  expect(end.stderr).toMatch(/^facegrad: train: step \d+: expected a finite loss and gradient, got loss/);
  expect(end.stderr).toMatch(/first not finite: the (output of|weights '.*' of|gradient of '.*' in) module [\w.]+/);
  expect(end.stderr).not.toMatch(/\n\s+at /);
  const { tensors, metadata } = readSafetensors(readFileSync(join(out, 'last.safetensors')));
  for (const [name, t] of tensors) expect(t.data.every(Number.isFinite), name).toBe(true);
  const step = Number(/step (\d+)/.exec(end.stderr)![1]);
  expect(JSON.parse(metadata.progress!).step).toBe(step - 1);
});

describe('bad input ends in one clear message', () => {
  const refused = async (args: string[], code: number, message: RegExp) => {
    const end = await facegrad(args);
    expect(end.stderr).toMatch(message);
    expect(end.stderr).not.toMatch(/\n\s+at /); // no stack
    expect(end.code).toBe(code);
    return end;
  };

  test('usage: commands, recipes, keys, types, devices', async () => {
    await refused(['trian'], 2, /^facegrad: expected a command, got 'trian'\nDid you mean 'train'/);
    await refused(['train', 'mobilefacenet'], 2, /Did you mean 'mobilefacenet-arcface'/);
    await refused(['train', '--lr', 'fast'], 2, /'lr' expected a number above 0, got "fast"/);
    await refused(['train', '--threads', 'two'], 2, /--threads: expected a whole number of at least 1, got 'two'/);
    await refused(['train', '--device', 'gpu'], 2, /--device: expected auto, wasm, webgpu, reference, got 'gpu'/);
  });

  test('a recipe file with a wrong type', async () => {
    const path = join(folder, 'recipe.json');
    writeFileSync(path, '{"batch": "8"}');
    await refused(
      ['train', path],
      2,
      /^facegrad: .*recipe\.json: 'batch' expected a whole number .*, got "8" \(string\)/,
    );
    await refused(['train', join(folder, 'none.json')], 1, /none\.json: expected a recipe file, but ENOENT/);
  });

  test('a checkpoint cut short, or of no training run', async () => {
    const out = join(folder, 'damaged');
    mkdirSync(out);
    const path = join(out, 'last.safetensors');
    const tensors = [['w', { dtype: 'f32' as const, shape: [64], data: new Float32Array(64) }]] as const;
    const other = { format: 'facegrad', version: '1', architecture: 'irresnet50' };
    writeFileSync(path, writeSafetensors(tensors, other));
    await refused(
      ['train', '--out', out, '--resume'],
      1,
      /last\.safetensors: expected a checkpoint of a training run, but it holds no recipe/,
    );
    truncateSync(path, 200);
    await refused(['train', '--out', out, '--resume'], 1, /last\.safetensors: .*cut off/);
  });

  test('fewer pictures than a batch', async () => {
    await refused(
      [...small, '--batch', '64', '--out', join(folder, 'few')],
      1,
      /at least one batch of 64 pictures, got 12/,
    );
  });

  describe('pictures', () => {
    const faces = (name: string, edit: (root: string) => void): string => {
      const root = join(folder, name);
      for (const person of ['ann', 'bob', 'eve']) {
        mkdirSync(join(root, person), { recursive: true });
        for (let i = 0; i < 4; i++) {
          const data = syntheticFace(1, person.charCodeAt(0), i, 32);
          writeFileSync(join(root, person, `${i}.png`), encodePng({ width: 32, height: 32, data }));
        }
      }
      edit(root);
      return root;
    };
    const run = (root: string, ...more: string[]) => [...small, '--data', root, '--out', `${root}-run`, ...more];

    test('an empty identity, a missing folder', async () => {
      const root = faces('empty', (r) => mkdirSync(join(r, 'dan')));
      await refused(run(root), 1, /^facegrad: .*empty\/dan: expected at least one \.jpg or \.png .*, found none\n/);
      await refused(run(join(folder, 'nowhere')), 1, /^facegrad: .*nowhere: expected a data set, got ENOENT/);
    });

    test('a truncated picture stops the run, or is skipped and reported when told so', async () => {
      const root = faces('cut', (r) => {
        truncateSync(join(r, 'bob', '2.png'), 100);
        writeFileSync(join(r, 'eve', '1.jpg'), 'this is no picture');
      });
      await refused(run(root), 1, /^facegrad: .*cut\/(bob\/2\.png|eve\/1\.jpg): /);
      const end = await facegrad([...run(root, '--skip-bad', '--overwrite')]);
      expect(end.stderr).toBe('');
      expect(end.code).toBe(0);
      const skipped = end.stdout.split('\n').filter((l) => l.startsWith('skipped: '));
      expect(skipped.length).toBe(2);
      expect(skipped.join()).toMatch(/bob\/2\.png/);
      expect(skipped.join()).toMatch(/eve\/1\.jpg/);
    });

    test('a list file with a gap in its labels; a pairs file that names a missing picture', async () => {
      const root = faces('listed', (r) => {
        writeFileSync(join(r, 'list.txt'), 'ann/0.png 0\nann/1.png 0\nbob/0.png 2\n');
        writeFileSync(join(r, 'pairs.txt'), 'ann\t1\t2\nann\t1\tbob\t9\n');
      });
      await refused(run(join(root, 'list.txt')), 1, /list\.txt: expected labels 0 to 2 without gaps, but 1 is missing/);
      const pairs = ['--evalPairs', join(root, 'pairs.txt'), '--evalImages', root];
      await refused(run(root, ...pairs), 1, /pairs\.txt:1: expected a picture .*ann_0001/);
    });
  });

  test.skipIf(process.platform === 'win32')('a disk that fills while a checkpoint is written', async () => {
    const out = join(folder, 'full');
    expect((await facegrad([...small, '--out', out])).code).toBe(0);
    const bytes = readFileSync(join(out, 'last.safetensors'));
    // Files end at 50 KB here: the kernel refuses the rest, as a full disk does.
    const args = [cli, 'train', '--out', out, '--resume', '--maxSteps', '8'];
    const end = spawnSync('sh', ['-c', `trap '' XFSZ && ulimit -f 100 && exec "$0" "$@"`, process.execPath, ...args], {
      encoding: 'utf8',
    });
    expect(end.status).toBe(1);
    expect(end.stderr).toMatch(/^facegrad: writing .*\.safetensors \(\d+ bytes\): EFBIG/);
    expect(readFileSync(join(out, 'last.safetensors')).equals(bytes)).toBe(true);
  });
});

test('a new run in an old folder leaves nothing of the old one; what a resumed run cannot take is said', async () => {
  const out = join(folder, 'replaced');
  const args = [...small, '--keepLast', '2', '--evalEverySteps', '2', '--optimizer', 'adam', '--out', out];
  expect((await facegrad(args)).code).toBe(0);
  const kept = () => readdirSync(out).filter((name) => name.startsWith('step-'));
  expect(kept()).toEqual(['step-0000004.safetensors', 'step-0000006.safetensors']);
  const resumed = await facegrad(['train', '--out', out, '--resume', '--maxSteps', '8', '--optimizer.amsgrad', 'true']);
  expect(resumed.code).toBe(1);
  expect(resumed.stderr).toMatch(
    /^facegrad: .*last\.safetensors: expected the \d+ tensors of this run, but \d+ differ\n[\s\S]*\nGo on with the options of the run, or start a new one from its weights: --from .*\.\n$/,
  );
  expect((await facegrad([...small, '--maxSteps', '3', '--out', out, '--overwrite'])).code).toBe(0);
  expect(kept()).toEqual([]);
  expect(readdirSync(join(out, 'samples')).sort()).toEqual(
    ['batch-0000000', 'synthetic-nearest-0000003', 'synthetic-worst-0000003'].map((name) => `${name}.jpg`),
  );
});

test.skipIf(process.platform === 'win32')('a disk that fills while pictures are written', () => {
  const args = [cli, ...small, '--out', join(folder, 'full-samples')];
  const end = spawnSync('sh', ['-c', `trap '' XFSZ && ulimit -f 8 && exec "$0" "$@"`, process.execPath, ...args], {
    encoding: 'utf8',
  });
  expect(end.stderr).toMatch(/^facegrad: writing .*full-samples\/.* \(\d+ bytes\): EFBIG.*\n.*\.\n$/);
  expect(end.status).toBe(1);
});

test('help names every key of the recipe without loading the engine', () => {
  const help = execFileSync(process.execPath, [cli, 'train', '--help'], { encoding: 'utf8' });
  for (const key of ['batch', 'epochs', 'maxSteps', 'lr', 'logEverySteps', 'evalEverySteps', 'seed'])
    expect(help).toContain(`--${key} `);
  const list = execFileSync(process.execPath, [cli, '--help'], { encoding: 'utf8' });
  for (const command of ['train', 'eval', 'embed', 'verify', 'bench', 'doctor', 'info'])
    expect(list).toContain(command);
});
