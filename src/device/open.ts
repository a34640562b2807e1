/** A device by the name a user gives: what `--device` and `--threads` mean, in one place. */
import { DeviceError, UsageError } from '../core/errors.ts';
import type { Device, DeviceInfo } from './device.ts';
import { ReferenceDevice } from './reference.ts';
import { WasmDevice } from './wasm.ts';

export const deviceNames = ['auto', 'wasm', 'webgpu', 'reference'] as const;
export type DeviceName = (typeof deviceNames)[number];

const noWebGpu = 'this version of facegrad has no WebGPU device yet';

/**
 * Opens a device. 'auto' is the fastest there is: today WASM.
 * @param threads of the WASM device; default: the machine's cores
 * @throws UsageError for an unknown name; DeviceError where the device is missing here
 */
export async function openDevice(
  name: DeviceName | (string & {}) = 'auto',
  { threads }: { readonly threads?: number | undefined } = {},
): Promise<Device> {
  switch (name) {
    case 'auto':
    case 'wasm':
      return WasmDevice.create(threads === undefined ? {} : { threads });
    case 'reference':
      return new ReferenceDevice();
    case 'webgpu':
      throw new DeviceError(`webgpu: ${noWebGpu}\nUse --device wasm.`);
    default:
      throw new UsageError(`device: expected one of ${deviceNames.join(', ')}, got '${name}'\nUse auto.`);
  }
}

/** Every device with whether it is available here and why (not); opens and closes each that can be. */
export async function listDevices(options: { readonly threads?: number | undefined } = {}): Promise<DeviceInfo[]> {
  const out: DeviceInfo[] = [];
  for (const name of ['reference', 'wasm', 'webgpu'] as const) {
    try {
      const device = await openDevice(name, options);
      out.push(device.info());
      await device.dispose();
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      const reason = error.message.split('\n')[0]!.replace(`${name}: `, '');
      out.push({ name, available: false, threads: 0, simd: 'none', reason });
    }
  }
  return out;
}
