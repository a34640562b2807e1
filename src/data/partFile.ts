/**
 * Files that bear their name once they are whole (Node).
 *
 * The one idea: until then a file is called `NAME.part`, so what has the name itself is whole, and what an interrupted call has
 * left is found again.
 */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { ByteSink } from './bytes.ts';
import { fileError, fileSink } from './files.ts';

/** What a file is called while it is written. */
export const partOf = (path: string): string => `${path}.part`;

/** Gives a file that is whole its name, in the place of what was there. Throws DataError naming it. */
export async function finishPart(path: string, part = partOf(path)): Promise<void> {
  await rename(part, path).catch((error) => {
    throw fileError(path, `to rename ${part} to this`, error);
  });
  // The new name outlives a power cut only when its folder is on disk; some systems cannot do this to a folder.
  const folder = await open(dirname(path)).catch(() => undefined);
  await folder?.sync().catch(() => {});
  await folder?.close();
}

/** Writes a file that is there whole or not at all; what was at its path stays until then. Throws DataError naming it. */
export async function writeWhole(path: string, write: (sink: ByteSink) => Promise<void>): Promise<void> {
  const part = partOf(path);
  const sink = await fileSink(part);
  try {
    await write(sink);
    await sink.flush();
    await sink.close();
  } catch (error) {
    await sink.close().catch(() => {});
    await rm(part, { force: true });
    throw error;
  }
  await finishPart(path);
}
