/** Opening a data set of any format (Node). */
import { open, stat } from 'node:fs/promises';
import { DataError } from '../core/errors.ts';
import type { Dataset } from './dataset.ts';
import { fileError } from './files.ts';
import type { DataFormat, OpenOptions } from './formats/format.ts';
import { formats } from './formats/index.ts';

/** The format of a path, from its name and first bytes. Throws DataError where none fits, listing those known. */
export async function formatOf(path: string): Promise<DataFormat> {
  const found = await stat(path).catch((error) => {
    throw fileError(path, 'a data set', error);
  });
  let head = new Uint8Array(0);
  if (!found.isDirectory()) {
    if (!found.isFile()) throw fileError(path, 'a data set', { code: 'no regular file' });
    const file = await open(path, 'r').catch((error) => {
      throw fileError(path, 'a readable file', error);
    });
    try {
      const bytes = new Uint8Array(64);
      head = bytes.subarray(0, (await file.read(bytes, 0, 64, 0)).bytesRead);
    } finally {
      await file.close();
    }
  }
  const format = formats.find((f) => f.detect(path, found.isDirectory(), head));
  if (format) return format;
  const start = [...head.subarray(0, 8)].map((b) => b.toString(16).padStart(2, '0')).join(' ');
  throw new DataError(
    `${path}: expected a data set, but it fits no format known here (first bytes ${start || 'none'})\nKnown: ${formats.map((f) => `${f.name} (${f.means})`).join('; ')}.`,
  );
}

/** Opens a data set of any format. Throws DataError naming the path. */
export const openDataset = async (path: string, options: OpenOptions = {}): Promise<Dataset> =>
  (await formatOf(path)).open(path, options);
