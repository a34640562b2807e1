/**
 * The page that times both programs: they start from the same numbers, are given the same batch and take turns, step by
 * step, while what they ask of WebGPU is counted.
 */
import { fold, keyOf, normal, uniform } from '../../src/core/random.ts';
import { WebGpuDevice } from '../../src/device/webgpu.ts';
import { mobileFaceNet } from '../peers/net.ts';
import { installMeter } from './meter.ts';
import { openOurs } from './ours.ts';
import type { PageResult, Program, ProgramResult, Task } from './task.ts';
import { openTfjs } from './tfjs.mjs';

/** Processor seconds of the browser so far; its driver tells. */
declare function cpuSeconds(): Promise<number>;

const meter = installMeter();

async function measure(task: Task): Promise<PageResult> {
  const { recipe, classes } = task;
  const { batch } = recipe;
  const [h, w] = recipe.model.inputSize as readonly [number, number];
  const key = fold(keyOf(1), 'webgpu bench');
  const images = normal(fold(key, 'images'), batch * h * w * 3);
  const labels = Int32Array.from(uniform(fold(key, 'labels'), batch), (u) => Math.floor(u * classes));

  const device = await WebGpuDevice.create();
  const ours = await openOurs(task, device);
  const twin = await openTfjs({
    task,
    layers: mobileFaceNet(),
    state: ours.state,
    decayOf: ours.decayOf,
  });
  const programs: Program[] = [{ name: 'facegrad', version: '', device: device.gpu, ...ours }, twin];

  const measured = programs.map(() => ({
    ms: [] as number[],
    cpuMs: [] as number[],
    losses: [] as number[],
    counted: {} as Counted,
  }));
  for (let i = 0; i <= task.steps; i++)
    for (const [p, program] of programs.entries()) {
      meter.reset();
      const cpu = await cpuSeconds();
      const start = performance.now();
      const loss = await program.step(images, labels);
      const ms = performance.now() - start;
      const { kernels, ...counts } = meter.counts;
      const { buffers, bytes, peakBytes } = meter.memoryOf(program.device);
      measured[p]!.ms.push(ms);
      measured[p]!.cpuMs.push(1000 * ((await cpuSeconds()) - cpu));
      measured[p]!.losses.push(loss);
      measured[p]!.counted = {
        ...counts,
        buffers,
        bytesAlive: bytes,
        peakBytes,
        kernels: [...kernels.values()].sort((a, b) => b.bytes - a.bytes),
      };
      console.log(`step ${i}: ${program.name} loss ${loss.toFixed(5)}, ${(ms / 1000).toFixed(2)} s`);
    }
  const results = programs.map(({ name, version }, p): ProgramResult => {
    const { ms, cpuMs, losses, counted } = measured[p]!;
    const [firstStepMs, ...stepMs] = ms as [number, ...number[]];
    return { program: name, version, ...counted, firstStepMs, stepMs, stepCpuMs: cpuMs.slice(1), losses };
  });
  return { adapter: device.info().reason, programs: results };
}
type Counted = Omit<ProgramResult, 'program' | 'version' | 'firstStepMs' | 'stepMs' | 'stepCpuMs' | 'losses'>;

Object.assign(globalThis, { measure });
