/** Files as byte sources and sinks (Node). */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { DataError } from '../core/errors.ts';
import { type ByteSink, type ByteSource, checkRange } from './bytes.ts';

/** The DataError of a failed file operation. */
export function fileError(path: string, wanted: string, error: unknown): DataError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new DataError(
    `${path}: expected ${wanted}, got ${code ?? message}\nCheck the path, its permissions and the disk.`,
  );
}

// Undefined on Windows, which has neither such pipes nor, by default, such links.
const { O_NONBLOCK = 0, O_NOFOLLOW = 0 } = constants as Partial<typeof constants>;
/** How files of a set are opened: a pipe among them is found out, not waited for. */
export const reading = constants.O_RDONLY | O_NONBLOCK;
/** How a file that is not yet whole is written: never through a link that lies in its place. */
export const writing = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | O_NOFOLLOW;
const writingOn = constants.O_RDWR | O_NOFOLLOW;

/** Throws what fails to be a file, such as a device that never ends. */
function checkFile(found: Stats): void {
  if (!found.isFile()) throw Object.assign(new Error(), { code: found.isDirectory() ? 'a folder' : 'no regular file' });
}

/** Pictures and texts are smaller. */
const mostWhole = 2 ** 29;
function checkSize(path: string, { size }: Stats): void {
  if (size > mostWhole)
    throw new DataError(
      `${path}: expected at most ${mostWhole} bytes, got ${size}\nIt is no picture or list, or is to be split.`,
    );
}

/** All bytes of a file that is read whole. Throws DataError naming it, and what it was expected to be. */
export async function wholeFile(path: string, wanted: string): Promise<Uint8Array> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, reading);
    const found = await handle.stat();
    checkFile(found);
    checkSize(path, found);
    return await handle.readFile();
  } catch (error) {
    throw error instanceof DataError ? error : fileError(path, wanted, error);
  } finally {
    await handle?.close();
  }
}

/** The text of a file. Throws DataError naming it, and what it was expected to be. */
export function textFile(path: string, wanted: string): string {
  let handle: number | undefined;
  try {
    handle = openSync(path, reading);
    const found = fstatSync(handle);
    checkFile(found);
    checkSize(path, found);
    return readFileSync(handle, 'utf8');
  } catch (error) {
    throw error instanceof DataError ? error : fileError(path, wanted, error);
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

/** Opens a file for reading by range. Throws DataError naming it. */
export async function fileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle | undefined;
  let size: number;
  try {
    handle = await open(path, reading);
    const found = await handle.stat();
    checkFile(found);
    size = found.size;
  } catch (error) {
    await handle?.close();
    throw fileError(path, 'a readable file', error);
  }
  const file = handle;
  return {
    name: path,
    size,
    container: path,
    async read(at, length, into) {
      checkRange({ name: path, size }, at, length);
      // Not from a pool of ours: callers keep views.
      const out = into ? into.subarray(0, length) : new Uint8Array(length);
      try {
        for (let done = 0; done < length; ) {
          const { bytesRead } = await file.read(out, done, length - done, at + done);
          if (bytesRead === 0) checkRange({ name: path, size: at + done }, at, length);
          done += bytesRead;
        }
      } catch (error) {
        throw error instanceof DataError ? error : fileError(path, `to read ${length} bytes at offset ${at}`, error);
      }
      return out;
    },
    close: () => file.close(),
  };
}

/**
 * Opens a file for writing, unless a link lies in its place; small writes are gathered.
 * @param keep bytes of an earlier file to go on after; what lies behind them is cut off. Default 0: a new file.
 */
export async function fileSink(path: string, keep = 0): Promise<ByteSink> {
  const failed = (error: unknown) => fileError(path, 'to write this file', error);
  let file: FileHandle;
  try {
    file = await open(path, keep > 0 ? writingOn : writing);
    await file.truncate(keep);
  } catch (error) {
    throw failed(error);
  }
  const gathered = new Uint8Array(1 << 20);
  let held = 0;
  let onDisk = keep;
  const put = async (bytes: Uint8Array, at: number) => {
    try {
      for (let done = 0; done < bytes.length; )
        done += (await file.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
    } catch (error) {
      throw failed(error);
    }
  };
  const drain = async () => {
    const n = held;
    held = 0;
    await put(gathered.subarray(0, n), onDisk);
    onDisk += n;
  };
  return {
    name: path,
    get size() {
      return onDisk + held;
    },
    async write(bytes) {
      if (held + bytes.length > gathered.length) await drain();
      if (bytes.length > gathered.length) {
        await put(bytes, onDisk);
        onDisk += bytes.length;
      } else {
        gathered.set(bytes, held);
        held += bytes.length;
      }
    },
    async patch(at, bytes) {
      await drain();
      checkRange({ name: path, size: onDisk }, at, bytes.length);
      await put(bytes, at);
    },
    async flush() {
      await drain();
      await file.datasync().catch((error) => {
        throw failed(error);
      });
    },
    async close() {
      try {
        await drain();
      } finally {
        await file.close();
      }
    },
  };
}
