/**
 * A WebGPU device for tests in Node: the machine's own driver, or SwiftShader, the CPU Vulkan driver that Debian's Chromium
 * carries. Without either, tests skip with the reason; under CI that is a failure.
 */
import { existsSync } from 'node:fs';
import type { GpuOptions } from '../../src/device/gpu.ts';
import { WebGpuDevice } from '../../src/device/webgpu.ts';
import { exercised } from './exercised.ts';

const swiftShader = '/usr/lib/chromium/vk_swiftshader_icd.json';
if (!process.env.VK_DRIVER_FILES && existsSync(swiftShader)) {
  process.env.VK_DRIVER_FILES = swiftShader;
  process.env.VK_ICD_FILENAMES = swiftShader;
}

/**
 * Dawn without its zeroing of workgroup memory, which SwiftShader compiles word by word: half of the processor time of
 * these tests. No kernel counts on zeros; in Chromium they run as they are.
 */
const gpu: GPU | undefined = await import('webgpu').then(
  ({ create, globals }) => {
    Object.assign(globalThis, globals);
    return create(['enable-dawn-features=disable_workgroup_init', 'disable-dawn-features=timestamp_quantization']);
  },
  () => undefined,
);

export async function openGpuDevice(options: GpuOptions = {}): Promise<WebGpuDevice> {
  const device = await WebGpuDevice.create({ ...(gpu && { gpu }), ...options });
  exercised(`webgpu in Node (${device.info().reason.split(/ with |,/)[0]}${options.least ? ', least limits' : ''})`);
  return device;
}

/** Why there is no WebGPU here; undefined where there is. */
export const noGpu: string | undefined = await openGpuDevice().then(
  async (device) => {
    await device.dispose();
    return undefined;
  },
  (error: Error) => error.message.split('\n')[0],
);
if (noGpu) console.log(`WebGPU tests skipped: ${noGpu}`);
/** For `describe.runIf`: under CI a missing device makes the tests fail instead. */
export const runGpu = !noGpu || process.env.CI !== undefined;
