/**
 * Trees of feature files, one per picture (`<image>.feat`, `<image>_<algorithm>.bin`), as one matrix (Node).
 *
 * The one idea: the order is that of whole paths by their characters, as Python sorts them, so that row i is the face that
 * other programs have there; DeepGlint's Trillion-Pairs test takes a stack of 1862120 faces in this order.
 */
import { join } from 'node:path';
import { DataError } from '../../core/errors.ts';
import { fileSource } from '../files.ts';
import { writeWhole } from '../partFile.ts';
import { featureHeader, readFeature } from './features.ts';
import { filesIn } from './folder.ts';

export interface FeatureFilesOptions {
  /** How the files' names end, upper or lower case. Default '.feat'. */
  readonly suffix?: string;
}

/** Order of characters as Python has it: UTF-16 puts those beyond 0xffff, which are surrogates there, before 0xe000. */
function byCharacter(a: string, b: string): number {
  const n = Math.min(a.length, b.length);
  const rank = (c: number) => (c < 0xd800 ? c : c < 0xe000 ? c + 0x2000 : c - 0x800);
  for (let i = 0; i < n; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Paths of the feature files below a folder, from it, in order. Throws DataError where there are none. */
export function featureFiles(folder: string, { suffix = '.feat' }: FeatureFilesOptions = {}): string[] {
  const ending = suffix.toLowerCase();
  const found = filesIn(folder, (name) => name.toLowerCase().endsWith(ending)).sort(byCharacter);
  if (found.length === 0)
    throw new DataError(`${folder}: expected files that end in ${suffix}, found none\nCheck folder and suffix.`);
  return found;
}

/** The features of files below a folder, one by one; all must have as many numbers. */
async function* featuresOf(folder: string, files: readonly string[]): AsyncGenerator<Float32Array> {
  let width: number | undefined;
  for (const file of files) {
    const source = await fileSource(join(folder, file));
    try {
      const feature = await readFeature(source);
      width ??= feature.length;
      if (feature.length !== width)
        throw new DataError(
          `${source.name}: expected ${width} numbers as in ${files[0]}, got ${feature.length}\nTake features of one network.`,
        );
      yield feature;
    } finally {
      await source.close();
    }
  }
}

/**
 * Reads a tree of feature files into one matrix.
 * @returns the names of the pictures (paths from the folder without the suffix) and their features, [n, width]
 * @throws DataError naming the file
 */
export async function readFeatureFiles(
  folder: string,
  options: FeatureFilesOptions = {},
): Promise<{ names: string[]; width: number; features: Float32Array }> {
  const files = featureFiles(folder, options);
  const names = files.map((f) => f.slice(0, f.length - (options.suffix ?? '.feat').length));
  let features: Float32Array | undefined;
  let width = 0;
  let at = 0;
  for await (const feature of featuresOf(folder, files)) {
    width = feature.length;
    features ??= memoryFor(files.length, width, folder);
    features.set(feature, at);
    at += width;
  }
  return { names, width, features: features! };
}

function memoryFor(rows: number, width: number, folder: string): Float32Array {
  try {
    return new Float32Array(rows * width);
  } catch {
    throw new DataError(
      `${folder}: expected memory for ${rows} features of ${width} numbers, got none\nStack them with mergeFeatureFiles and read some rows at a time.`,
    );
  }
}

export interface MergeOptions extends FeatureFilesOptions {
  /** How many there must be; 1862120 for Trillion-Pairs. Default: as many as there are. */
  readonly expected?: number;
  /** Called with files done and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Stacks a tree of feature files into one feature file, a face a row, in little memory. The file is there when it is whole.
 * @throws DataError naming the file that is wrong, or the folder where there are not as many as expected
 */
export async function mergeFeatureFiles(
  folder: string,
  out: string,
  options: MergeOptions = {},
): Promise<{ rows: number; width: number }> {
  const files = featureFiles(folder, options);
  const rows = files.length;
  if (options.expected !== undefined && rows !== options.expected)
    throw new DataError(
      `${folder}: expected ${options.expected} feature files, found ${rows}\nWrite those that are missing, or remove those too many.`,
    );
  let width = 0;
  let done = 0;
  await writeWhole(out, async (sink) => {
    for await (const feature of featuresOf(folder, files)) {
      if (sink.size === 0) {
        width = feature.length;
        await sink.write(featureHeader(rows, width));
      }
      await sink.write(new Uint8Array(feature.buffer, feature.byteOffset, feature.byteLength));
      options.onProgress?.(++done, rows);
    }
  });
  return { rows, width };
}
