/** A training run whose device is lost goes on from its last snapshot, to the bytes of one that kept its device. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { readCheckpoint } from '../../src/train/checkpointFile.ts';
import type { TrainEvent } from '../../src/train/events.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { type TrainOptions, train } from '../../src/train/run.ts';
import { curveOf } from '../helpers/curve.ts';
import { openGpuDevice, runGpu } from '../helpers/gpu.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-loss-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = resolveRecipe('demo', {
  identities: 4,
  imagesPerIdentity: 8,
  batch: 8,
  maxSteps: 6,
  saveEverySteps: 2,
  evalEverySteps: 0,
  logEverySteps: 1,
  inputSize: [32, 32],
  width: 0.25,
});

/** The run with its device destroyed after a step. */
const interrupted = (out: string, device: WebGpuDevice, after: number, more: Partial<TrainOptions>) => {
  const notes: string[] = [];
  const onEvent = (e: TrainEvent) => {
    if (e.type === 'note') notes.push(e.text);
    if (e.type === 'step' && e.step === after) device.gpu.destroy();
  };
  return { notes, ended: train(recipe, { device, out: join(folder, out), workers: 1, onEvent, ...more }) };
};
const bytes = (out: string, file: string) => readFileSync(join(folder, out, file));

describe.runIf(runGpu)('a lost device', () => {
  it('is replaced, and the run ends in the same bytes; without another the checkpoint is kept', async () => {
    const first = await openGpuDevice();
    await train(recipe, { device: first, out: join(folder, 'whole'), workers: 1 });

    // The first device has its kernels already.
    let second: WebGpuDevice | undefined;
    const replaced = interrupted('replaced', first, 3, {
      async reopen() {
        second = await openGpuDevice();
        return second;
      },
    });
    expect(await replaced.ended).toMatchObject({ finished: true, steps: 6 });
    expect(replaced.notes).toHaveLength(1);
    expect(replaced.notes[0]).toMatch(
      /^webgpu: the device was lost \(destroyed.*; going on from the snapshot .*last\.safetensors$/,
    );
    expect(bytes('replaced', 'last.safetensors').equals(bytes('whole', 'last.safetensors'))).toBe(true);
    const curve = (run: string) => curveOf(join(folder, run, 'curve.csv'));
    expect(curve('replaced')).toEqual(curve('whole'));

    const alone = interrupted('alone', second!, 3, {});
    await expect(alone.ended).rejects.toThrow(/^webgpu: the device was lost \(destroyed/);
    expect(alone.notes).toEqual([]);
    const kept = await readCheckpoint(join(folder, 'alone', 'last.safetensors'));
    expect(JSON.parse(kept.metadata.progress!)).toMatchObject({ step: 2 });
  });
});
