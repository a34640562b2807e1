/** `facegrad doctor`: which devices are usable here, with how many threads and which instructions, and why. */
import { arch, availableParallelism, cpus, freemem, release, totalmem, type } from 'node:os';
import type { Command } from 'commander';
import { UsageError } from '../core/errors.ts';
import type { DeviceInfo } from '../device/device.ts';
import { listDevices, openDevice } from '../device/open.ts';
import { enableFastKernels } from '../device/v8.ts';
import { type DeviceChoice, deviceNames } from './device.ts';
import { wholeOption } from './options.ts';
import { exitCodes, print, printJson } from './output.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly freeGiB: number;
  readonly os: string;
  readonly node: string;
  readonly v8: string;
}

const gib = (bytes: number): number => Math.round((bytes / 2 ** 30) * 10) / 10;

export const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: gib(totalmem()),
  freeGiB: gib(freemem()),
  os: `${type()} ${release()} ${arch()}`,
  node: process.versions.node,
  v8: process.versions.v8,
});

/** What this Node lacks that a newer one has, in words. */
function advice(devices: readonly DeviceInfo[]): string | undefined {
  const wasm = devices.find((d) => d.name === 'wasm');
  if (wasm?.available && !wasm.simd.startsWith('wide'))
    return `Node ${process.versions.node} runs 128-bit kernels; Node 24 or newer runs 256-bit ones, about twice as fast.`;
  return undefined;
}

async function doctor(flags: DeviceChoice & { readonly json?: boolean }): Promise<void> {
  if (flags.device !== undefined && !(deviceNames as readonly string[]).includes(flags.device))
    throw new UsageError(`--device: expected ${deviceNames.join(', ')}, got '${flags.device}'\nUse one of these.`);
  const threads = wholeOption('threads', flags.threads);
  const enabled = enableFastKernels();
  const devices = await listDevices({ threads });
  const auto = await openDevice('auto', { threads });
  const taken = auto.info();
  await auto.dispose();
  const chosen = flags.device === undefined || flags.device === 'auto' ? taken.name : flags.device;
  const hint = advice(devices);
  const shown =
    flags.device === undefined || flags.device === 'auto' ? devices : devices.filter((d) => d.name === chosen);
  if (flags.json)
    printJson({ devices: shown, default: chosen, enabled, machine: machine(), ...(hint && { advice: hint }) });
  else {
    const m = machine();
    print(`Machine: ${m.cpu}, ${m.cores} cores, ${m.memoryGiB} GiB (${m.freeGiB} free), ${m.os}`);
    print(`Engine:  Node ${m.node}, V8 ${m.v8}; turned on: ${enabled.join(', ') || 'nothing'}`);
    print('');
    for (const d of shown) {
      const threadsOf = d.threads ? `${d.threads} thread${d.threads === 1 ? '' : 's'}, ` : '';
      const how = d.available ? `${threadsOf}${d.simd}` : 'not available';
      print(`${d.name === chosen ? '*' : ' '} ${d.name.padEnd(10)} ${how}`);
      print(`  ${' '.repeat(10)} ${d.reason}`);
    }
    print('');
    print(`* what --device auto takes${taken.reason.match(/; (not WebGPU: .*)/)?.[1]?.replace(/.*/, ' ($&)') ?? ''}`);
    if (hint) print(hint);
  }
  // Asking for one device is asking whether it works.
  if (shown.some((d) => d.name === chosen && !d.available)) process.exitCode = exitCodes.failure;
}

export function register(program: Command): void {
  program
    .command('doctor')
    .description('say which devices and kernels are in use here, and why')
    .option('--device <name>', `only this one; exit code 1 where it is not available (${deviceNames.join(', ')})`)
    .option('--threads <n>', 'threads to try (default: the cores of this machine)')
    .option('--json', 'devices and machine as JSON')
    .action(doctor);
}
