/** A training run whose device is lost goes on from its last snapshot, to the bytes of one that kept its device. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DeviceError } from '../../src/core/errors.ts';
import type { WebGpuDevice } from '../../src/device/webgpu.ts';
import { resolveRecipe } from '../../src/train/recipe.ts';
import { type TrainEvent, train } from '../../src/train/run.ts';
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

describe.runIf(runGpu)('a lost device', () => {
  const run = (out: string, device: WebGpuDevice, onEvent: (e: TrainEvent) => void = () => {}) =>
    train(recipe, { device, out: join(folder, out), onEvent, workers: 1, reopen: () => openGpuDevice() });

  it('is replaced, and the run ends in the same bytes', async () => {
    const whole = await openGpuDevice();
    await run('whole', whole);
    await whole.dispose();

    const doomed = await openGpuDevice();
    const notes: string[] = [];
    const result = await run('lost', doomed, (e) => {
      if (e.type === 'note') notes.push(e.text);
      if (e.type === 'step' && e.step === 3) doomed.gpu.destroy();
    });
    expect(result).toMatchObject({ finished: true, steps: 6 });
    expect(notes).toHaveLength(1);
    expect(notes[0]).toMatch(
      /^webgpu: the device was lost \(destroyed.*; going on from the snapshot .*last\.safetensors$/,
    );
    for (const file of ['last.safetensors', 'curve.csv'])
      expect(readFileSync(join(folder, 'lost', file)).equals(readFileSync(join(folder, 'whole', file))), file).toBe(
        true,
      );
  });

  it('ends the run where there is no other, keeping the checkpoint', async () => {
    const doomed = await openGpuDevice();
    const ended = train(recipe, {
      device: doomed,
      out: join(folder, 'ended'),
      workers: 1,
      onEvent: (e) => {
        if (e.type === 'saved') doomed.gpu.destroy();
      },
    });
    await expect(ended).rejects.toThrow(DeviceError);
    expect(readFileSync(join(folder, 'ended', 'last.safetensors')).length).toBeGreaterThan(1000);
  });

  it('rejects what is under way and what is asked for later', async () => {
    const { compile } = await import('../../src/compile.ts');
    const { matmul } = await import('../../src/ops/index.ts');
    const { host } = await import('../../src/core/tensor.ts');
    const device = await openGpuDevice();
    const f = compile(({ x }) => matmul(x!, x!), { device });
    const x = host(new Float32Array(256 * 256), [256, 256]);
    await f({ x });
    const pending = f({ x });
    device.gpu.destroy();
    await expect(pending).rejects.toThrow(/^webgpu: the device was lost \(destroyed/);
    await expect(f({ x })).rejects.toThrow(DeviceError);
    expect(device.isLost).toBe(true);
    expect(device.info().available).toBe(false);
    await device.dispose();
  });
});
