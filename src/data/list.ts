/** A text file of `path label` lines (Node). */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DataError } from '../core/errors.ts';
import type { Dataset } from './dataset.ts';

/**
 * The data set of a list: one picture a line, its path (may hold spaces; relative to `root`, by default the list's own
 * folder) and its label, a whole number; blank lines and lines that start with # are skipped. Labels must be 0..C−1 with
 * none missing, unless `classes` says how many there are. Throws DataError with file and line.
 */
export function listDataset(
  path: string,
  { root = dirname(path), classes }: { root?: string; classes?: number } = {},
): Dataset {
  const paths: string[] = [];
  const names: string[] = [];
  const labels: number[] = [];
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new DataError(
      `${path}: expected a list file, got ${(error as NodeJS.ErrnoException).code}\nName a text file with 'path label' lines.`,
    );
  }
  text.split(/\r?\n/).forEach((line, i) => {
    if (!line.trim() || line.startsWith('#')) return;
    const parts = /^(.*\S)[ \t]+(\d+)\s*$/.exec(line);
    const label = Number(parts?.[2]);
    if (!parts)
      throw new DataError(
        `${path}:${i + 1}: expected 'path label' with a whole label from 0 on, got '${line.slice(0, 80)}'\nCorrect the line.`,
      );
    if (classes !== undefined && label >= classes)
      throw new DataError(
        `${path}:${i + 1}: expected a label below the ${classes} classes, got ${label}\nRaise the class count or correct the label.`,
      );
    // Lists written on Windows have backslashes.
    const name = parts[1]!.replaceAll('\\', '/');
    names.push(name);
    paths.push(resolve(root, name));
    labels.push(label);
  });
  if (labels.length === 0)
    throw new DataError(`${path}: expected 'path label' lines, found none\nWrite one picture a line.`);
  const seen = new Set(labels);
  const count = classes ?? labels.reduce((m, l) => Math.max(m, l), 0) + 1;
  if (classes === undefined && seen.size !== count) {
    const missing = Array.from({ length: count }, (_, l) => l).find((l) => !seen.has(l));
    throw new DataError(
      `${path}: expected labels 0 to ${count - 1} without gaps, but ${missing} is missing (${seen.size} labels are used)\nRenumber the labels.`,
    );
  }
  return {
    name: path,
    classes: count,
    length: paths.length,
    label: (i) => labels[i]!,
    identityName: (label) => String(label),
    imageName: (i) => names[i]!,
    source: (i) => ({ kind: 'file', path: paths[i]! }),
  };
}
