import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { DataError, UsageError } from '../../src/core/errors.ts';
import {
  expectArchitecture,
  readCheckpoint,
  writeAtomically,
  writeCheckpoint,
} from '../../src/train/checkpointFile.ts';
import { writeSafetensors } from '../../src/weights/safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'facegrad-checkpoint-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const source = fileURLToPath(new URL('../../src/train/checkpointFile.ts', import.meta.url));
const fresh = (name: string) => {
  mkdirSync(join(folder, name));
  return join(folder, name, 'last.safetensors');
};
const listed = (path: string) => readdirSync(join(path, '..')).sort();
const tensors = new Map([['w', { dtype: 'f32' as const, shape: [2], data: Float32Array.of(1, 2) }]]);
const metadata = { architecture: 'mobileFaceNet', recipe: '{"lr":0.1}' };
const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
const strips = major > 22 || (major === 22 && minor >= 18);
if (!strips)
  console.log(`checkpoint child-process tests skipped: Node ${process.versions.node} does not run TypeScript files`);

test('what is written is read back, and nothing else is left', async () => {
  const path = fresh('round');
  for (let i = 0; i < 2; i++) await writeCheckpoint(path, { tensors, metadata });
  expect(await readCheckpoint(path)).toEqual({ tensors, metadata });
  expect(listed(path)).toEqual(['last.safetensors']);
});

test('a link to a checkpoint stays a link', async () => {
  const path = fresh('link');
  writeFileSync(join(path, '../epoch3'), 'old');
  symlinkSync('epoch3', path);
  await writeAtomically(path, new TextEncoder().encode('new'));
  expect(readFileSync(join(path, '../epoch3'), 'utf8')).toBe('new');
  expect(listed(path)).toEqual(['epoch3', 'last.safetensors']);
});

test('a cut-off, damaged, foreign or newer file is refused with its name', async () => {
  const path = fresh('damaged');
  await writeCheckpoint(path, { tensors, metadata });
  const whole = readFileSync(path);
  for (const size of [0, 7, 8, 40, whole.length - 1]) {
    truncateSync(path, size);
    await expect(readCheckpoint(path)).rejects.toThrow(DataError);
    await expect(readCheckpoint(path)).rejects.toThrow(/^checkpoint .*last\.safetensors: /);
    writeFileSync(path, whole);
  }
  const refused = async (meta: Record<string, string>, message: RegExp) => {
    writeFileSync(path, writeSafetensors(tensors, meta));
    await expect(readCheckpoint(path)).rejects.toThrow(DataError);
    await expect(readCheckpoint(path)).rejects.toThrow(message);
  };
  await refused({}, /expected format facegrad, came a safetensors file without one/);
  await refused({ format: 'pt' }, /came pt/);
  await refused({ format: 'facegrad', version: '2' }, /version 1 to 1, came 2.\nA newer facegrad/);
  await refused({ format: 'facegrad' }, /came none/);
  await refused({ format: 'facegrad', version: '0x1' }, /came 0x1/);
  await expect(readCheckpoint(`${path}.none`)).rejects.toThrow(/ENOENT[\s\S]*Check the path/);
  await expect(writeCheckpoint(path, { tensors, metadata: { version: '3' } })).rejects.toThrow(UsageError);
});

test('the architecture is checked by name', async () => {
  expect(() => expectArchitecture({ tensors, metadata }, 'mobileFaceNet')).not.toThrow();
  expect(() => expectArchitecture({ tensors, metadata }, 'irResNet50', 'a.safetensors')).toThrow(
    /^a\.safetensors: expected a checkpoint of irResNet50, came mobileFaceNet\.\nBuild/,
  );
  expect(() => expectArchitecture({ tensors, metadata: {} }, 'x')).toThrow(/names no architecture/);
});

test('paths that cannot be written are refused', async () => {
  const bytes = new Uint8Array(5);
  await expect(writeAtomically(join(folder, 'none/at/all'), bytes)).rejects.toThrow(
    /\(5 bytes\): ENOENT[\s\S]*folder must exist/,
  );
  await expect(writeAtomically(folder, bytes)).rejects.toThrow(UsageError);
  if (existsSync('/dev/full')) {
    await expect(writeAtomically('/dev/full', bytes)).rejects.toThrow(UsageError); // and not renamed over
    expect(existsSync('/dev/full')).toBe(true);
  }
});

test('only temporaries of dead processes go', async () => {
  const path = fresh('leftovers');
  const host = hostname().replace(/[^\w-]/g, '_');
  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  const name = (by: string, pid: number) => `.last.safetensors.${by}.${pid}.00c0ffee.tmp`;
  const stay = [
    name(host, process.ppid),
    name(host, process.pid),
    name('elsewhere', dead),
    '.last.safetensors.tmp',
    '.other.1.tmp',
  ];
  for (const file of [...stay, name(host, dead)]) writeFileSync(join(path, '..', file), 'x');
  await writeAtomically(path, new Uint8Array(1));
  expect(listed(path)).toEqual([...stay, 'last.safetensors'].sort());
});

/** A child that writes whole files of one repeated byte, a new one each time, until it is killed. */
function writer(path: string): Promise<ChildProcess> {
  const code = `
    import { writeAtomically } from ${JSON.stringify(source)};
    process.stdout.write('.');
    for (let i = 1; ; i = (i % 255) + 1) await writeAtomically(${JSON.stringify(path)}, new Uint8Array(2e6 + i).fill(i));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((done) => child.stdout!.once('data', () => done(child)));
}

test.skipIf(!strips)(
  'killed at any moment, the file is whole: the old one or the new one',
  { timeout: 60_000 },
  async () => {
    const path = fresh('kill');
    writeFileSync(path, new Uint8Array(2e6 + 7).fill(7));
    let halfWritten = 0;
    for (let run = 0; run < 14; run++) {
      const child = await writer(path);
      const gone = new Promise((done) => child.once('exit', done));
      await new Promise((done) => setTimeout(done, (run * 7) % 23));
      child.kill('SIGKILL');
      await gone;
      const bytes = readFileSync(path);
      const first = bytes[0]!;
      expect(bytes.length).toBe(2e6 + first);
      expect(bytes.every((b) => b === first)).toBe(true);
      const left = listed(path).filter((name) => name.endsWith('.tmp')).length;
      expect(left).toBeLessThanOrEqual(1); // each run removes what the one before left
      halfWritten += left;
    }
    expect(halfWritten).toBeGreaterThan(0); // or no kill came in the middle and nothing was shown
    await writeAtomically(path, Uint8Array.of(1));
    expect(listed(path)).toEqual(['last.safetensors']);
  },
);

/** Runs one write of 1 MB in a child under a limit set up by a shell line; gives what it reported. */
function limited(prepare: string, path: string, wrap: string[] = []): string {
  const code = `
    import { writeAtomically } from ${JSON.stringify(source)};
    import { readdirSync, readFileSync } from 'node:fs';
    let error = 'none';
    try { await writeAtomically(${JSON.stringify(path)}, new Uint8Array(1e6)); } catch (e) { error = e.name + ': ' + e.message; }
    console.log(error + '|' + readFileSync(${JSON.stringify(path)}, 'utf8') + '|' + readdirSync(${JSON.stringify(join(path, '..'))}));`;
  const shell = ['sh', '-c', `${prepare} && exec "$0" --input-type=module -e "$1"`, process.execPath, code];
  const [command, ...rest] = [...wrap, ...shell] as [string, ...string[]];
  return execFileSync(command, rest, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

test.skipIf(!strips || process.platform === 'win32')(
  'a write that fails halfway leaves the old file and no temporary',
  () => {
    const path = fresh('limit');
    writeFileSync(path, 'old');
    const said = limited("trap '' XFSZ && ulimit -f 100", path); // 50 KB: the kernel refuses the rest
    expect(said).toMatch(
      /^DataError: writing .*limit\/last\.safetensors \(1000000 bytes\): EFBIG[^|]*\n[^|]*untouched/,
    );
    expect(said.trim().split('|').slice(1)).toEqual(['old', 'last.safetensors']);
  },
);

const namespaces = spawnSync('unshare', ['-Urm', 'sh', '-c', `mount -t tmpfs none ${folder}`]).status === 0;
if (!namespaces)
  console.log('checkpoint full-disk test skipped: no small file system can be mounted here (unshare -Urm)');

test.skipIf(!strips || !namespaces)('a full disk leaves the old file and no temporary, and says so', () => {
  const path = fresh('full');
  const prepare = `mount -t tmpfs -o size=256k none '${join(path, '..')}' && printf old > '${path}'`;
  const said = limited(prepare, path, ['unshare', '-Urm']);
  expect(said).toMatch(/^DataError: writing .*full\/last\.safetensors \(1000000 bytes\): ENOSPC[^|]*\nFree some space/);
  expect(said.trim().split('|').slice(1)).toEqual(['old', 'last.safetensors']);
});
