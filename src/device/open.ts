/** A device by the name a user gives: what `--device` and `--threads` mean, in one place. */
import { DeviceError, UsageError } from '../core/errors.ts';
import type { Device, DeviceInfo } from './device.ts';
import { mayHaveGpu } from './gpu.ts';
import { checkGpu } from './gpuCheck.ts';
import { ReferenceDevice } from './reference.ts';
import { WasmDevice } from './wasm.ts';
import { WebGpuDevice } from './webgpu.ts';

export const deviceNames = ['auto', 'wasm', 'webgpu', 'reference'] as const;
export type DeviceName = (typeof deviceNames)[number];

export interface OpenOptions {
  /** Of the WASM device; default: the machine's cores. */
  readonly threads?: number | undefined;
}

/** The GPU if it is one, and computes rightly; else why not. */
async function usableGpu(): Promise<WebGpuDevice | string> {
  if (!mayHaveGpu()) return 'this machine has no GPU';
  try {
    const gpu = await WebGpuDevice.create();
    const why = gpu.onCpu ? 'its adapter computes on the CPU' : await checkGpu(gpu);
    if (!why) return gpu;
    await gpu.dispose();
    return why;
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    return reasonOf(error);
  }
}
const reasonOf = (error: DeviceError): string => error.message.split('\n')[0]!.replace(/^\w+: /, '');

/**
 * Opens a device. 'auto' takes WebGPU where there is a real GPU that passes a self-test, else WASM; `info().reason` says
 * why.
 * @throws UsageError for an unknown name; DeviceError where the device is missing here
 */
export async function openDevice(
  name: DeviceName | (string & {}) = 'auto',
  { threads }: OpenOptions = {},
): Promise<Device> {
  const wasm = (note?: string) =>
    WasmDevice.create({ ...(threads === undefined ? {} : { threads }), ...(note === undefined ? {} : { note }) });
  switch (name) {
    case 'auto': {
      const gpu = await usableGpu();
      return typeof gpu === 'string' ? wasm(`not WebGPU: ${gpu}`) : gpu;
    }
    case 'wasm':
      return wasm();
    case 'reference':
      return new ReferenceDevice();
    case 'webgpu':
      return WebGpuDevice.create();
    default:
      throw new UsageError(`device: expected one of ${deviceNames.join(', ')}, got '${name}'\nUse auto.`);
  }
}

/** Every device with whether it is available here and why (not); opens and closes each that can be. */
export async function listDevices(options: OpenOptions = {}): Promise<DeviceInfo[]> {
  const out: DeviceInfo[] = [];
  for (const name of ['reference', 'wasm', 'webgpu'] as const) {
    try {
      const device = await openDevice(name, options);
      out.push(device.info());
      await device.dispose();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      out.push({ name, available: false, threads: 0, simd: 'none', reason: reasonOf(error) });
    }
  }
  return out;
}
