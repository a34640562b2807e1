/**
 * Which devices a test run exercised: tests say so here, and the run prints it at its end, so that a device that was
 * silently left out is seen.
 */
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const variable = 'FACEGRAD_EXERCISED';

/** Notes a device in words, such as 'webgpu in Node (google swiftshader)'. */
export function exercised(device: string): void {
  const file = process.env[variable];
  if (file) appendFileSync(file, `${device}\n`);
}

/** Before all tests; what it gives runs after them. */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'facegrad-test-'));
  const file = join(folder, 'devices');
  process.env[variable] = file;
  return () => {
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
    const devices = [...new Set(lines)].sort();
    console.log(`\nDevices exercised: ${devices.join(', ') || 'none'}`);
    const missing = ['wasm', 'webgpu'].filter((d) => !devices.some((x) => x.startsWith(d)));
    if (missing.length) console.log(`Not exercised:     ${missing.join(', ')}`);
    rmSync(folder, { recursive: true, force: true });
  };
}
