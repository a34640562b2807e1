/**
 * LFW-style verification pairs over a folder of pictures (Node).
 *
 * Format: an optional header `folds pairsPerFold` (or one number: pairs, in one fold), then lines `name i j` (same person) or
 * `name1 i name2 j`, tab or space separated; each fold holds pairsPerFold same and as many different pairs
 * (Huang et al. 2007, LFW technical report, section V).
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DataError } from '../core/errors.ts';
import type { Pair, PairSet } from './dataset.ts';

const extensions = ['jpg', 'jpeg', 'png', 'JPG', 'PNG'];

/** Reads a pairs file; pictures are `images/Name/Name_0001.jpg` or `images/Name_0001.jpg`. Throws DataError with file and line. */
export function readPairs(path: string, images: string): PairSet {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new DataError(
      `${path}: expected a pairs file, got ${(error as NodeJS.ErrnoException).code}\nName LFW's pairs.txt or a file of its format.`,
    );
  }
  const lines = text.split(/\r?\n/).map((l) => l.trim().split(/\s+/));
  const first = lines[0] ?? [];
  const header = first.length <= 2 && first.every((f) => /^\d+$/.test(f));
  const folds = header && first.length === 2 ? Number(first[0]) : undefined;
  const perFold = header ? 2 * Number(first[first.length - 1]) : undefined;
  const known = new Map<string, string>();
  const find = (name: string, number: string, line: number): string => {
    const n = Number(number);
    if (!Number.isInteger(n) || n < 0)
      throw new DataError(
        `${path}:${line}: expected a picture number, got '${number}'\nWrite 'name i j' or 'name1 i name2 j'.`,
      );
    const base = `${name}_${String(n).padStart(4, '0')}`;
    const before = known.get(base);
    if (before) return before;
    for (const folder of [join(images, name), images])
      for (const e of extensions) {
        const file = join(folder, `${base}.${e}`);
        if (existsSync(file)) {
          known.set(base, file);
          return file;
        }
      }
    throw new DataError(
      `${path}:${line}: expected a picture ${join(images, name, `${base}.jpg`)} or ${join(images, `${base}.jpg`)}, found neither\nName the folder that holds the pictures with --images, or remove the pair.`,
    );
  };
  const pairs: Pair[] = [];
  lines.forEach((fields, i) => {
    if ((i === 0 && header) || (fields.length === 1 && fields[0] === '')) return;
    if (fields.length !== 3 && fields.length !== 4)
      throw new DataError(
        `${path}:${i + 1}: expected 3 fields (same person) or 4 (different people), got ${fields.length}\nWrite 'name i j' or 'name1 i name2 j'.`,
      );
    const [a, n, b, m] = fields as [string, string, string, string?];
    const same = fields.length === 3;
    const left = find(a, n, i + 1);
    const right = same ? find(a, b, i + 1) : find(b, m!, i + 1);
    const fold = perFold ? Math.floor(pairs.length / perFold) : 0;
    pairs.push({ a: { kind: 'file', path: left }, b: { kind: 'file', path: right }, same, fold });
  });
  if (pairs.length === 0)
    throw new DataError(`${path}: expected pairs, found none\nName LFW's pairs.txt or a file of its format.`);
  // Without a header, ten contiguous folds as the protocols have it.
  const count = folds ?? (perFold ? Math.ceil(pairs.length / perFold) : Math.min(10, pairs.length));
  if (folds !== undefined && perFold !== undefined && pairs.length !== folds * perFold)
    throw new DataError(
      `${path}: its header promises ${folds} folds of ${perFold} pairs, but it holds ${pairs.length}\nThe file may be cut off; fetch it again or correct the header.`,
    );
  return {
    name: path,
    folds: count,
    pairs: perFold ? pairs : pairs.map((p, i) => ({ ...p, fold: Math.floor((i * count) / pairs.length) })),
  };
}
