/**
 * What a page runs for ops.test.ts: every record's problems and the composites, against the f64 reference computed here.
 * `large()` is left out: its shapes are there to split work among threads, and take a software GPU long.
 */
import type { Device } from '../../src/device/device.ts';
import { WasmDevice } from '../../src/device/wasm.ts';
import { WebGpuDevice } from '../../src/device/webgpu.ts';
import { composites } from '../ops/composites.ts';
import {
  complaints,
  forwardBatch,
  gradientBatch,
  outOfBound,
  recordProblems,
  runOn,
  type Truth,
  truthOf,
} from '../ops/harness.ts';

/** What ran on one device. */
export interface Report {
  /** In its own words. */
  readonly device: string;
  readonly problems: number;
  /** Outputs and gradients compared. */
  readonly results: number;
  /** All that is out of its bound, or did not run. */
  readonly complaints: readonly string[];
}

const problems = [...recordProblems(), ...composites()];
const batches = new Map(
  problems.flatMap(([name, list]) => [
    [`${name} forward`, forwardBatch(list)] as const,
    [`${name} gradient`, gradientBatch(list)] as const,
  ]),
);
const truths = new Map<string, Truth>();

async function check(opening: Promise<Device>): Promise<Report> {
  const device = await opening;
  const found: string[] = [];
  let results = 0;
  for (const [name, batch] of batches) {
    const truth = truths.get(name) ?? (await truthOf(batch));
    truths.set(name, truth);
    try {
      const got = await runOn(device, batch);
      results += got.size;
      if (got.size !== truth.f64.size) found.push(`${name}: ${got.size} of ${truth.f64.size} results`);
      found.push(...complaints(got, (r) => outOfBound(r, truth)));
    } catch (error) {
      found.push(`${name}: ${(error as Error).message}`);
    }
  }
  const { simd, reason } = device.info();
  await device.dispose();
  return {
    device: device.name === 'webgpu' ? reason : simd,
    problems: problems.flatMap(([, list]) => list).length,
    results,
    complaints: found,
  };
}

export const onWasm = () => check(WasmDevice.create({ threads: 2 }));
export const onWebGpu = () => check(WebGpuDevice.create());
