/** A text file of `path label` lines (Node). */
import { dirname, resolve } from 'node:path';
import { DataError } from '../../core/errors.ts';
import type { Dataset } from '../dataset.ts';
import { textFile } from '../files.ts';
import { folderNames, mostClasses } from '../people.ts';
import { checkLine } from './lines.ts';

/**
 * The data set of a list: one picture a line, its path (may hold spaces; relative to `root`, by default the list's own
 * folder) and its label, a whole number, or -1 for a person who is not known; blank lines and lines that start with # are skipped. Labels must be 0..C−1 with
 * none missing, unless `classes`, or a line `# classes C`, says how many there are. People are named by the folder that holds
 * their pictures where each has one of their own, by their label otherwise. Throws DataError with file and line.
 */
export function openList(path: string, options: { root?: string; classes?: number } = {}): Dataset {
  const { root = dirname(path) } = options;
  const names: string[] = [];
  const labels: number[] = [];
  const text = textFile(path, 'a list file').replace(/^\uFEFF/, '');
  const stated = /^# classes (\d{1,9})\r?$/m.exec(text)?.[1];
  const classes = options.classes ?? (stated ? Number(stated) : undefined);
  if (classes !== undefined && classes > mostClasses)
    throw new DataError(
      `${path}: expected at most ${mostClasses} classes, got ${classes}\nCorrect the number of classes.`,
    );
  text.split(/\r?\n/).forEach((line, i) => {
    checkLine(line, `${path}:${i + 1}`);
    if (!line.trim() || line.startsWith('#')) return;
    const parts = /^(.*\S)[ \t]+(-1|\d+)\s*$/s.exec(line);
    const label = Number(parts?.[2]);
    if (!parts || label >= mostClasses)
      throw new DataError(
        `${path}:${i + 1}: expected 'path label' with a whole label from 0 to ${mostClasses - 1}, got '${line.slice(0, 80)}'\nCorrect the line.`,
      );
    if (classes !== undefined && label >= classes)
      throw new DataError(
        `${path}:${i + 1}: expected a label below the ${classes} classes, got ${label}\nRaise the class count or correct the label.`,
      );
    // Lists written on Windows have backslashes.
    names.push(parts[1]!.replaceAll('\\', '/').replace(/^\.\//, ''));
    labels.push(label);
  });
  if (labels.length === 0)
    throw new DataError(`${path}: expected 'path label' lines, found none\nWrite one picture a line.`);
  const seen = new Set(labels.filter((l) => l >= 0));
  const count = classes ?? labels.reduce((m, l) => Math.max(m, l), -1) + 1;
  if (classes === undefined && seen.size !== count) {
    let missing = 0;
    while (seen.has(missing)) missing++;
    throw new DataError(
      `${path}: expected labels 0 to ${count - 1} without gaps, but ${missing} is missing (${seen.size} labels are used)\nRenumber the labels.`,
    );
  }
  const labelOf = Int32Array.from(labels);
  const shared = sharedFolder(names);
  const imageName = (i: number) => names[i]!.slice(shared);
  const people = folderNames(labelOf, imageName);
  return {
    name: path,
    classes: count,
    length: names.length,
    label: (i) => labelOf[i]!,
    identityName: (label) => people?.get(label) ?? String(label),
    imageName,
    source: (i) => ({ kind: 'file', path: resolve(root, names[i]!) }),
  };
}

/** Characters of the folders that all paths begin with; the folder that holds a picture is never among them. */
function sharedFolder(names: readonly string[]): number {
  let shared = names[0]!.split('/').slice(0, -2);
  for (const name of names) {
    const parts = name.split('/').slice(0, -2);
    let same = 0;
    while (same < shared.length && parts[same] === shared[same]) same++;
    shared = shared.slice(0, same);
  }
  return shared.reduce((n, part) => n + part.length + 1, 0);
}
