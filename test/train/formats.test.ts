/** Training from any format ends in the same weights: order, labels and pixels are those of the set, however it is stored. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { prepare } from '../../src/data/prepare/prepare.ts';
import { closeContainers } from '../../src/data/readImage.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import type { TrainEvent } from '../../src/train/events.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';
import { writePeople } from '../helpers/pictures.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-train-formats-'));
afterAll(async () => {
  await closeContainers();
  rmSync(folder, { recursive: true });
});

it('a folder, a list, .rec, .tfrecord and .faces', { timeout: 120_000 }, async () => {
  const people = join(folder, 'people');
  writePeople(people, 5, 4);
  const device = await WasmDevice.create({ threads: 1 });
  let runs = 0;
  const weightsFrom = async (data: string) => {
    const changes = { width: 0.125, embeddingSize: 16, inputSize: [32, 32], batch: 8, maxSteps: 3, augment: 'light' };
    const recipe = resolveRecipe('mobilefacenet-arcface', { ...changes, data, evalIdentities: 0, logEverySteps: 1 });
    const losses: number[] = [];
    const notes: string[] = [];
    const onEvent = (e: TrainEvent) => {
      if (e.type === 'step') losses.push(e.loss);
      if (e.type === 'note') notes.push(e.text);
    };
    const { checkpoint } = await train(recipe, {
      device,
      out: join(data, '..', `run${runs++}`),
      onEvent,
    });
    // The pictures are blobs of colour.
    expect(notes).toEqual([
      expect.stringMatching(/^20 of the 20 pictures looked at do not look like aligned face crops/),
    ]);
    expect(losses).toHaveLength(3);
    return { losses, tensors: (await readCheckpoint(checkpoint)).tensors };
  };
  const want = await weightsFrom(people);
  for (const name of ['set.txt', 'set.rec', 'set.tfrecord', 'set.faces']) {
    const out = join(folder, name);
    await prepare({ sources: [people], out, workers: 0 });
    expect(await weightsFrom(out), name).toEqual(want);
  }
  await device.dispose();
});
