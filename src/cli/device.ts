/** The device options that commands share: `--device auto|wasm|webgpu|reference` and `--threads N`. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import type { Device } from '../device/device.ts';
import { deviceNames, openDevice as open } from '../device/open.ts';
import { enableFastKernels } from '../device/v8.ts';
import { wholeOption } from './options.ts';

export { deviceNames };

export interface DeviceChoice {
  readonly device?: string;
  readonly threads?: string | number;
}

export const addDeviceOptions = (command: Command): Command =>
  command
    .option('--device <name>', `where to compute: ${deviceNames.join(', ')}`, 'auto')
    .option('--threads <n>', 'threads to compute with (default: the cores of this machine)');

/** Opens the device asked for, with this Node's fast kernels turned on. Call it before anything else compiles. */
export async function openDevice({ device = 'auto', threads }: DeviceChoice = {}): Promise<Device> {
  const n = wholeOption('threads', threads);
  if (!(deviceNames as readonly string[]).includes(device))
    throw new UsageError(`--device: expected ${deviceNames.join(', ')}, got '${device}'\nUse one of these.`);
  enableFastKernels();
  return open(device, { threads: n });
}
