/**
 * Where a figure was measured: processor, engine, flags, load, commit. A figure without these says nothing.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';

/** WASM kernels of 128 bits or of 256. */
export type WasmMode = 'narrow' | 'wide';
export type ModeName = WasmMode | 'webgpu';

export interface MachineBlock {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly os: string;
  readonly node: string;
  readonly v8: string;
  /** The adapter that WebGPU gave. */
  readonly gpu?: string;
  readonly modes: readonly ModeName[];
  /** Flags of the measuring processes, by mode. */
  readonly flags: Readonly<Partial<Record<ModeName, readonly string[]>>>;
  /** One-minute load. Before: well above zero means that others use the machine and figures read low. */
  readonly load: { readonly before: number; readonly after: number };
}

export const machineBlock = (
  modes: readonly ModeName[],
  flags: MachineBlock['flags'],
  before: number,
  gpu?: string,
): MachineBlock => ({
  cpu: cpus()[0]?.model.trim() ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
  os: `${type()} ${release()}`,
  node: process.version,
  v8: process.versions.v8,
  ...(gpu ? { gpu } : {}),
  modes,
  flags,
  load: { before, after: loadNow() },
});

export const loadNow = (): number => Math.round(loadavg()[0]! * 100) / 100;

/** The folder of package.json: sources and build lie at different depths below it. */
export const packageRoot: string = (() => {
  for (const up of ['..', '../..'])
    try {
      const at = new URL(`${up}/`, import.meta.url);
      if (JSON.parse(readFileSync(new URL('package.json', at), 'utf8')).name === 'facegrad') return fileURLToPath(at);
    } catch {}
  return fileURLToPath(new URL('../', import.meta.url));
})();

/** The commit of the working tree, '+' where files differ from it; null outside a clone. */
export function commitOf(folder = packageRoot): string | null {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', folder, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return `${git('rev-parse', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') ? '+' : ''}`;
  } catch {
    return null;
  }
}
