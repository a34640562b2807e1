/** The device options that commands share: `--device auto|wasm|webgpu|reference` and `--threads N`. */
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import type { Device } from '../device/device.ts';
import { deviceNames, openDevice as open } from '../device/open.ts';
import { enableFastKernels } from '../device/v8.ts';

export { deviceNames };

export interface DeviceChoice {
  readonly device?: string;
  readonly threads?: string | number;
}

export const addDeviceOptions = (command: Command): Command =>
  command
    .option('--device <name>', `where to compute: ${deviceNames.join(', ')}`, 'auto')
    .option('--threads <n>', 'threads to compute with (default: the cores of this machine)');

/** A whole number of at least 1 from an option's text. Throws UsageError. */
export function wholeOption(name: string, value: string | number | undefined): number | undefined {
  if (value === undefined) return undefined;
  const n = Number(value);
  if (!Number.isInteger(n) || n < 1)
    throw new UsageError(`--${name}: expected a whole number of at least 1, got '${value}'\nExample: --${name} 2.`);
  return n;
}

/** Opens the device asked for, with this Node's fast kernels turned on. Call it before anything else compiles. */
export async function openDevice({ device = 'auto', threads }: DeviceChoice = {}): Promise<Device> {
  const n = wholeOption('threads', threads);
  if (!(deviceNames as readonly string[]).includes(device))
    throw new UsageError(`--device: expected ${deviceNames.join(', ')}, got '${device}'\nUse one of these.`);
  enableFastKernels();
  return open(device, { threads: n });
}
