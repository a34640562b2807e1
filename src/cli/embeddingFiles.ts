/**
 * The files that `facegrad embed` writes: a matrix with its names beside it, an archive with names and labels in it, or a
 * feature file per picture, as the MegaFace development kit takes them.
 */
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { DataError, UsageError } from '../core/errors.ts';
import { writeFeatures } from '../data/formats/features.ts';
import { safePath } from '../data/pathName.ts';
import { ioError, writeAtomically } from '../train/checkpointFile.ts';
import { type NpyArray, writeNpy } from '../weights/npy.ts';
import { writeNpz } from '../weights/npz.ts';
import type { Picture } from './faces.ts';

export const outEndings = '.npy, .npz, .feat or .bin, or in / for a file per picture';

/** What to do with the embeddings of pictures, [n, dim]; gives a line that says what was written. */
export type WriteEmbeddings = (embeddings: Float32Array, dim: number) => Promise<string>;

/** The path of each picture's feature file. Throws UsageError where two have one. */
function featurePaths(folder: string, pictures: readonly Picture[], suffix: string): string[] {
  const seen = new Set<string>();
  return pictures.map(({ path, name }) => {
    const safe = safePath(path + suffix, folder);
    if (seen.has(safe))
      throw new UsageError(
        `--out ${folder}: expected pictures with names of their own, but ${name} would be '${safe}' again\nEmbed one folder at a time.`,
      );
    seen.add(safe);
    return join(folder, safe);
  });
}

/**
 * How the embeddings of pictures go to a path, by its ending.
 * @throws UsageError for another ending, DataError where its folder is missing or a picture's name cannot be a file
 */
export function embeddingWriter(out: string, pictures: readonly Picture[], suffix = '.feat'): WriteEmbeddings {
  const n = pictures.length;
  const names = pictures.map((p) => p.name);
  if (!existsSync(dirname(out)))
    throw new DataError(`--out ${out}: expected its folder to be there, found none\nMake it, or check the path.`);
  if (/[/\\]$/.test(out)) {
    const paths = featurePaths(out, pictures, suffix);
    return async (embeddings, dim) => {
      const made = new Set<string>();
      for (const [i, path] of paths.entries())
        try {
          const folder = dirname(path);
          if (!made.has(folder)) await mkdir(folder, { recursive: true });
          made.add(folder);
          await writeFile(path, writeFeatures(embeddings.subarray(i * dim, (i + 1) * dim), 1));
        } catch (error) {
          throw ioError(`writing ${path}`, error);
        }
      return `${out}: ${n} feature files of ${dim} numbers`;
    };
  }
  const ending = extname(out);
  if (ending === '.npz')
    return async (data, dim) => {
      const arrays: [string, NpyArray][] = [
        ['embeddings', { dtype: 'f32', shape: [n, dim], data }],
        ['names', { dtype: 'text', shape: [n], data: names }],
      ];
      const known = pictures.some((p) => p.label >= 0);
      if (known) arrays.push(['labels', { dtype: 'i32', shape: [n], data: Int32Array.from(pictures, (p) => p.label) }]);
      await writeAtomically(out, await writeNpz(arrays));
      return `${out}: embeddings [${n}, ${dim}], names${known ? ', labels' : ''}`;
    };
  if (!['.npy', '.feat', '.bin'].includes(ending))
    throw new UsageError(`--out: expected a name that ends in ${outEndings}, got '${out}'\nExample: --out faces.npz`);
  return async (data, dim) => {
    const beside = `${out.slice(0, -ending.length)}.names.txt`;
    const bytes = ending === '.npy' ? writeNpy({ data, shape: [n, dim], dtype: 'f32' }) : writeFeatures(data, dim);
    await writeAtomically(out, bytes);
    await writeAtomically(beside, new TextEncoder().encode(names.map((p) => `${p}\n`).join('')));
    return `${out}: ${n} embeddings of ${dim} numbers; names in ${beside}`;
  };
}
