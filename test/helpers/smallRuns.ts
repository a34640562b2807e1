/**
 * Small runs in a folder that is gone after the tests: importing this opens one device for a test file.
 *
 * A run tells when it has saved, and the file then holds all its numbers; so what happened in each step is read from the
 * checkpoints of one run.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { syntheticFace } from '../../datasets/synthetic.ts';
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { encodePng } from '../../src/image/encode.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import type { TrainEvent } from '../../src/train/events.ts';
import type { Recipe, RecipeChanges } from '../../src/train/recipe.ts';
import { train } from '../../src/train/run.ts';
import type { Progress } from '../../src/train/state.ts';

export let device: Device;
export let folder: string;
beforeAll(async () => {
  device = await WasmDevice.create({ threads: 2 });
  folder = mkdtempSync(join(tmpdir(), 'facegrad-runs-'));
});
afterAll(async () => {
  await device.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** A folder of drawn people, each with `count` pictures named as LFW names them. */
export function faces(name: string, people: readonly string[], count: number): string {
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

export const small: RecipeChanges = {
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
export async function run(
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

/** The tensors of a checkpoint by name. */
export const tensorsAt = async (out: string, step: number | string) =>
  (await readCheckpoint(step === 'last' ? join(out, 'last.safetensors') : join(out, 'all', String(step)))).tensors;
export const progressOf = async (path: string) =>
  JSON.parse((await readCheckpoint(path)).metadata.progress!) as Progress;
export const stepsIn = (events: readonly TrainEvent[]) => events.filter((e) => e.type === 'step');
export const notesIn = (events: readonly TrainEvent[]) => events.filter((e) => e.type === 'note').map((e) => e.text);
