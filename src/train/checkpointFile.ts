/**
 * Checkpoints on disk (Node): safetensors files that are always whole.
 *
 * A file is written under a temporary name in the same folder, flushed, and renamed over the old one; then the folder is
 * flushed. A crash, a kill or a full disk at any moment leaves the old file or the new one, never a piece. Temporaries of
 * killed runs are removed by the next write. Pillai et al. 2014, "All file systems are not created equal".
 */
import { randomBytes } from 'node:crypto';
import { open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { DataError, UsageError } from '../core/errors.ts';
import { type Checkpoint, checkpointVersion, parseCheckpoint } from '../weights/checkpoint.ts';
import { type HostTensor, writeSafetensors } from '../weights/safetensors.ts';

export { type Checkpoint, checkpointVersion };

const advice: Record<string, string> = {
  ENOSPC: 'Free some space on that disk or choose another folder; what was at this path before is untouched.',
  EDQUOT: 'Your disk quota is used up: delete something or choose another folder; what was there before is untouched.',
  EFBIG: 'The file is larger than this system or its ulimit -f allows; what was there before is untouched.',
  EROFS: 'This disk is read-only: choose another folder.',
  EACCES: 'Change the permissions of the file or folder, or choose another one.',
  EPERM: 'Change the permissions of the file or folder, or choose another one.',
  ENOENT: 'Check the path; a folder must exist before a file is written into it.',
  ENOTDIR: 'Check the path: one of its folders is a file.',
  EISDIR: 'Give the path of a file in that folder.',
  ERR_FS_FILE_TOO_LARGE: 'This is no checkpoint, or one larger than Node reads at once (2 GiB).',
};

/** An error of the file system in our words. */
export function ioError(what: string, e: unknown): DataError {
  const { code = '', message } = e as NodeJS.ErrnoException;
  return new DataError(`${what}: ${message}.\n${advice[code] ?? 'Check the disk and try again.'}`, { cause: e });
}

/**
 * Writes a file so that at every moment the path holds the old content or the new, whole. A symbolic link is followed.
 * @throws DataError naming file and size when the disk is full or the folder cannot be written; the old file is then
 * still there and the temporary is gone. UsageError when the path is something other than a file.
 */
export async function writeAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const what = `writing ${path} (${bytes.length} bytes)`;
  const target = await realpath(path).catch(() => path);
  const old = await stat(target).catch(() => undefined);
  if (old && !old.isFile()) {
    throw new UsageError(
      `${what}: expected a file or nothing there, came a folder or device.\nGive the path of a file.`,
    );
  }
  const folder = dirname(target);
  await removeLeftovers(folder, basename(target));
  const temporary = join(folder, temporaryName(basename(target)));
  try {
    const file = await open(temporary, 'wx');
    try {
      await file.writeFile(bytes);
      await file.sync(); // before the rename, or a power cut may leave the new name on empty blocks
    } finally {
      await file.close();
    }
    await rename(temporary, target);
  } catch (e) {
    await rm(temporary, { force: true }).catch(() => {});
    throw ioError(what, e);
  }
  await syncFolder(folder).catch((e) => {
    throw ioError(what, e);
  });
}

/** Makes the rename itself last. Windows, and some network file systems, cannot flush a folder: there it is left out. */
async function syncFolder(folder: string): Promise<void> {
  const unsupported = ['EINVAL', 'ENOTSUP', 'EPERM', 'EISDIR', 'EBADF', 'EACCES'];
  try {
    const handle = await open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch (e) {
    if (!unsupported.includes((e as NodeJS.ErrnoException).code ?? '')) throw e;
  }
}

const host = hostname().replace(/[^\w-]/g, '_');
const temporaryName = (base: string): string => `.${base}.${host}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;

/** Removes the temporaries that a killed run left for this file; one that a live process still writes stays. */
async function removeLeftovers(folder: string, base: string): Promise<void> {
  const started = Date.now() - process.uptime() * 1000;
  for (const name of await readdir(folder).catch(() => [])) {
    if (!name.startsWith(`.${base}.`)) continue;
    const [, by, pid] = /^(.*)\.(\d+)\.[0-9a-f]{8}\.tmp$/.exec(name.slice(base.length + 2)) ?? [];
    if (pid === undefined) continue;
    const path = join(folder, name);
    const modified = (await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now();
    // Another machine's process cannot be asked; containers reuse process numbers, so age counts for our own.
    const dead =
      by !== host
        ? Date.now() - modified > 24 * 3600 * 1000
        : Number(pid) === process.pid
          ? modified < started - 1000
          : !isAlive(Number(pid));
    if (dead) await rm(path, { force: true }).catch(() => {});
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // asks only; sends nothing
    return true;
  } catch (e) {
    return (e as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/**
 * Writes tensors and metadata as one safetensors file, atomically.
 * @throws DataError as `writeAtomically`; UsageError for metadata named `format` or `version`, or tensors that do not fit
 */
export async function writeCheckpoint(
  path: string,
  {
    tensors,
    metadata,
  }: { tensors: Iterable<readonly [string, HostTensor]>; metadata: Readonly<Record<string, string>> },
): Promise<void> {
  for (const key of ['format', 'version']) {
    if (Object.hasOwn(metadata, key)) {
      throw new UsageError(`writeCheckpoint: the metadata key ${key} is the checkpoint's own.\nName it otherwise.`);
    }
  }
  const bytes = writeSafetensors(tensors, { ...metadata, format: 'facegrad', version: String(checkpointVersion) });
  await writeAtomically(path, bytes);
}

/**
 * Reads a checkpoint that `writeCheckpoint` wrote.
 * @throws DataError when there is no such file, it is cut off or damaged, it is a safetensors file of something else, or
 * it was written by a newer facegrad
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const bytes = await readFile(path).catch((e) => {
    throw ioError(`reading checkpoint ${path}`, e);
  });
  return parseCheckpoint(bytes, `checkpoint ${path}`);
}

/**
 * Checks that a checkpoint is of the architecture wanted, before its tensors are looked at.
 * @param path what the error calls it
 * @throws DataError naming both architectures
 */
export function expectArchitecture(checkpoint: Checkpoint, architecture: string, path = 'checkpoint'): void {
  const found = checkpoint.metadata.architecture;
  if (found === architecture) return;
  throw new DataError(
    `${path}: expected a checkpoint of ${architecture}, came ${found ?? 'one that names no architecture'}.\n` +
      (found ? `Build the model as ${found}, or give another checkpoint.` : 'Give a checkpoint of a training run.'),
  );
}
