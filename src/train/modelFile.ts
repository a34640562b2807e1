/** Other programs' models on disk. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { WeightSource } from '../weights/format.ts';
import { type ImportedModel, type ImportOptions, importModel } from '../weights/import.ts';
import { ioError } from './checkpointFile.ts';

/**
 * A file on disk, and those in its folder.
 * @param known its bytes, where they were read already
 */
export function fileSource(path: string, known?: Uint8Array): WeightSource {
  const read = (file: string) =>
    readFile(file).catch((error) => {
      throw ioError(`reading ${file}`, error);
    });
  let bytes = known && Promise.resolve(known);
  return {
    name: path,
    bytes() {
      bytes ??= read(path);
      return bytes;
    },
    async beside(name) {
      const other = join(dirname(path), basename(name));
      return existsSync(other) ? read(other) : undefined;
    },
  };
}

/** Reads another program's model from its file; what belongs to it lies beside it. Throws as `importModel`. */
export const importFile = (path: string, options: ImportOptions = {}): Promise<ImportedModel> =>
  importModel(fileSource(path), options);
